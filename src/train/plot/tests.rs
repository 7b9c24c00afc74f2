use super::*;
use crate::model::{EpochRecord, Evaluation};

fn history(epochs: usize) -> History {
    let record = |epoch: usize| {
        let t = epoch as f64;
        EpochRecord {
            epoch,
            training: Evaluation { loss: 1.1 * (-t / 9.0).exp() + 0.08, metric: 1.0 - 0.6 * (-t / 6.0).exp() },
            held_out: Some(Evaluation { loss: (-t / 8.0).exp() + 0.15, metric: 0.96 - 0.6 * (-t / 6.0).exp() }),
            learning_rate: 0.003 * (1.0 + (t / epochs as f64 * std::f64::consts::PI).cos()) / 2.0,
            seconds: 0.5,
            ..EpochRecord::default()
        }
    };
    History { epochs: (0..epochs).map(record).collect(), ..History::default() }
}

fn plots() -> Vec<(&'static str, Plot)> {
    let mut matrix = ConfusionMatrix::new(3);
    for (truth, line) in [[50, 0, 0], [0, 45, 5], [1, 9, 40]].into_iter().enumerate() {
        for (predicted, count) in line.into_iter().enumerate() {
            (0..count).for_each(|_| matrix.count(truth, predicted));
        }
    }
    let names = ["setosa", "versicolor", "a name that is too long"].map(String::from);
    let scores: Vec<f32> =
        (0..200).map(|i| (i * 37 % 200) as f32 / 200.0 + if i % 2 == 0 { 0.4 } else { 0.0 }).collect();
    let roc = |shift: usize| {
        let truth: Vec<bool> = (0..200).map(|i| (i + i / shift).is_multiple_of(2)).collect();
        RocCurve::new(&scores, &truth).unwrap()
    };
    vec![
        ("curves", Plot::curves(&history(40))),
        ("one_epoch", Plot::curves(&history(1))),
        ("nothing", Plot::curves(&History::default())),
        ("confusion", Plot::confusion(&matrix, &names)),
        ("many_classes", Plot::confusion(&ConfusionMatrix::new(60), &[])),
        ("roc", Plot::roc([("setosa".to_string(), roc(1000)), ("virginica".to_string(), roc(60))])),
    ]
}

#[test]
fn every_picture_is_drawn_as_svg_and_png() {
    let folder = tempfile::tempdir().unwrap();
    for (name, plot) in plots() {
        let svg = folder.path().join(name).with_extension("svg");
        plot.save(&svg).unwrap();
        let svg = fs::read_to_string(svg).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("<text"), "{name}");
        let png = folder.path().join(name).with_extension("png");
        plot.save(&png).unwrap();
        let image = image::open(png).unwrap().to_rgb8();
        assert_eq!(image.dimensions(), (plot.width, plot.height));
        let inked = image.pixels().filter(|p| p.0 != [255; 3]).count();
        assert!(inked > 1000, "{name}: {inked}");
    }
}

#[test]
fn pictures_say_what_they_show() {
    let plots = plots();
    for (place, words) in [
        (0, vec!["loss", "accuracy", "learning rate", "held out", "epoch"]),
        (3, vec!["setosa", "a name that i…", "90.0 % of 150 rows right", "predicted"]),
        (5, vec!["virginica", "share of wrong rows taken"]),
    ] {
        let svg = plots[place].1.svg().unwrap();
        assert!(words.iter().all(|w| svg.contains(w)), "{svg}");
    }
}

#[test]
fn what_is_not_there_is_not_named() {
    let plots = plots();
    let texts = |place: usize| -> Vec<String> {
        let svg: String = plots[place].1.svg().unwrap();
        svg.split("</text>").filter_map(|part| part.rsplit('>').next()).map(|text| text.trim().to_owned()).collect()
    };
    // One epoch is one mark on each of the three axes.
    assert_eq!(texts(1).iter().filter(|text| *text == "1").count(), 3, "{:?}", texts(1));
    let empty = texts(4);
    assert!(empty.iter().any(|text| text == "no rows") && empty.iter().all(|text| !text.contains("NaN")), "{empty:?}");
}

#[test]
fn another_ending_is_refused() {
    let message = Plot::curves(&history(2)).save("loss.gif").unwrap_err().to_string();
    assert!(message.contains("loss.gif") && message.contains(".svg"), "{message}");
}

//! Images of 320 × 240 to tensors of 3 × 224 × 224 on one core, beside Pillow.

use std::{io::Cursor, path::Path, sync::Arc, time::Instant};

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use image::{ExtendedColorType, ImageEncoder, codecs};
use tinderbox::{
    advanced::{RecordReader, Values},
    tensor::reader::{ImageReader, Readers},
};

use super::support::{Outcome, Reading, alternate, median, number, own, python};

const SIZE: (u32, u32) = (320, 240);

pub(crate) fn compare() -> Outcome<()> {
    let (rounds, rows) = (number("ROUNDS", 5)?, number("ROWS", 500)?);
    let folder = tempfile::tempdir()?;
    for format in ["png", "jpeg"] {
        let folder = folder.path().join(format);
        std::fs::create_dir(&folder)?;
        for seed in 0..rows {
            std::fs::write(folder.join(format!("{seed:05}")), encoded(&picture(seed as u32), format)?)?;
        }
        let path = folder.to_str().ok_or("the folder's name is not UTF-8")?;
        let one_core =
            |command: Vec<String>| ["taskset", "-c", "0"].map(str::to_owned).into_iter().chain(command).collect();
        let ways = [
            ("tinderbox".to_owned(), one_core(own(["decode", path])?)),
            ("Pillow".to_owned(), one_core(python("images.py", [path])?)),
        ];
        let readings = alternate(&ways, "", rounds);
        println!(
            "\n{format}: {rows} images of {} x {}, one core, medians of {rounds} alternating rounds",
            SIZE.0, SIZE.1
        );
        println!("{:<12} {:>9} {:>7} {:>14}", "", "images/s", "ratio", "mean value");
        let speed = |readings: &[Reading]| median(readings.iter().map(|r| r.rows as f64 / r.seconds));
        for ((name, _), readings_of) in ways.iter().zip(&readings) {
            let Some(last) = readings_of.last() else {
                println!("{name:<12} could not be run");
                continue;
            };
            let ratio = speed(readings_of) / speed(&readings[1]);
            println!("{name:<12} {:>9.0} {ratio:>7.2} {:>14.5}", speed(readings_of), last.sum);
        }
    }
    Ok(())
}

/// Smooth colours, edges and a little noise, as photographs have.
fn picture(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let (cx, cy) = ((seed * 37 % SIZE.0) as f32, (seed * 53 % SIZE.1) as f32);
    let mut pixels = Vec::with_capacity((3 * SIZE.0 * SIZE.1) as usize);
    for y in 0..SIZE.1 {
        for x in 0..SIZE.0 {
            let near = (x as f32 - cx).hypot(y as f32 - cy);
            for channel in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 28) as f32;
                let wave = 90.0 * ((near / (17.0 + 5.0 * channel as f32)).sin() + 1.0);
                let edge = if (x / 40 + y / 40 + channel) % 2 == 0 { 40.0 } else { 0.0 };
                pixels.push((wave + edge + noise) as u8);
            }
        }
    }
    pixels
}

fn encoded(pixels: &[u8], format: &str) -> Outcome<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let (width, height, color) = (SIZE.0, SIZE.1, ExtendedColorType::Rgb8);
    match format {
        "png" => codecs::png::PngEncoder::new(&mut bytes).write_image(pixels, width, height, color)?,
        _ => codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90).write_image(pixels, width, height, color)?,
    }
    Ok(bytes.into_inner())
}

/// Decodes a folder's images.
pub(crate) fn run(folder: &str) -> Outcome<Reading> {
    let mut paths = std::fs::read_dir(Path::new(folder))?.map(|e| Ok(e?.path())).collect::<Outcome<Vec<_>>>()?;
    paths.sort();
    let files = paths.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let cells = Arc::new(BinaryArray::from_iter_values(&files)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("content", cells)])?;
    let mut reader =
        RecordReader::inputs(&batch.schema(), &Readers::new().input(ImageReader::new("content", 224, 224)))?;
    let started = Instant::now();
    let (mut sum, mut count) = (0.0, 0);
    for start in (0..files.len()).step_by(64) {
        let rows = reader.read(&batch.slice(start, 64.min(files.len() - start)))?;
        if let Some(fault) = rows.faults.first() {
            return Err(format!("image {}: {}", start + fault.row, fault.reason).into());
        }
        let Values::F32(values) = &rows.cells[0].values else { return Err("not of single precision".into()) };
        sum += values.iter().step_by(1009).map(|v| f64::from(*v)).sum::<f64>();
        count += values.len().div_ceil(1009);
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Reading { seconds, rows: files.len() as u64, sum: sum / count as f64, peak_mib: 0.0 })
}

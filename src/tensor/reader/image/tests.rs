//! `reference/images.py` made the files and Pillow's numbers.

use std::sync::{Arc, LazyLock};

use arrow::array::{BinaryArray, Int32Array, StringArray, StructArray};
use arrow::datatypes::Field;
use serde_json::Value;

use super::*;

static REFERENCE: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../reference/images.json")).unwrap());

const SIZE: (u32, u32) = (17, 23);

fn file(name: &str) -> Vec<u8> {
    let hex = REFERENCE["files"][name].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn expected(name: &str) -> Vec<u8> {
    REFERENCE[name].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u8).collect()
}

fn batch(cells: Vec<Option<Vec<u8>>>) -> RecordBatch {
    let cells: BinaryArray = cells.iter().map(Option::as_deref).collect();
    RecordBatch::try_from_iter_with_nullable([("content", Arc::new(cells) as _, true)]).unwrap()
}

fn bytes(reader: &ImageReader, batch: &RecordBatch) -> (Vec<u8>, Vec<String>) {
    let cells = reader.clone().as_bytes().read(batch).unwrap();
    let Values::U8(values) = cells.values else { panic!("bytes") };
    (values, cells.faults.into_iter().map(|fault| format!("{} {}", fault.row, fault.reason)).collect())
}

fn one(reader: &ImageReader, name: &str) -> Vec<u8> {
    let (values, faults) = bytes(reader, &batch(vec![Some(file(name))]));
    assert!(faults.is_empty(), "{name}: {faults:?}");
    values
}

fn whole() -> ImageReader {
    ImageReader::new("content", SIZE.0, SIZE.1).layout(ImageLayout::Hwc)
}

#[test]
fn files_of_every_format_are_decoded_as_pillow_does() {
    for name in ["png rgb", "png rgba", "bmp rgb"] {
        assert_eq!(one(&whole(), name), expected("rgb"), "{name}");
        assert_eq!(one(&whole().grey(), name), expected("luma"), "{name}");
    }
    assert_eq!(one(&whole(), "png palette"), expected("palette"));
    let grey = one(&whole().grey(), "png grey");
    assert_eq!(one(&whole(), "png grey"), grey.iter().flat_map(|v| [*v; 3]).collect::<Vec<_>>());
    // JPEG loses a little; two decoders lose it differently.
    let near = |found: Vec<u8>, pillow: Vec<u8>| found.iter().zip(&pillow).all(|(a, b)| a.abs_diff(*b) <= 4);
    assert!(near(one(&whole(), "jpeg"), expected("jpeg")));
    assert!(near(one(&whole().grey(), "jpeg"), expected("jpeg luma")));
    assert!(near(one(&whole().grey(), "jpeg grey"), expected("jpeg luma")));
}

#[test]
fn sizes_are_changed_to_the_bit_as_pillow_does() {
    let sized = |height, width| ImageReader::new("content", height, width).layout(ImageLayout::Hwc);
    assert_eq!(one(&sized(5, 8), "png rgb"), expected("smaller"));
    assert_eq!(one(&sized(21, 30), "png rgb"), expected("larger"));
    assert_eq!(one(&sized(17, 9).grey(), "png grey"), expected("narrower"));
    assert_eq!(one(&sized(7, 7).fit(ImageFit::Cover), "png rgb"), expected("cover"));
    assert_eq!(one(&sized(9, 4).grey().fit(ImageFit::Cover), "png grey"), expected("cover tall"));
}

#[test]
fn a_crop_is_the_middle_and_layouts_are_the_same_values() {
    let rgb = expected("rgb");
    let crop = one(&ImageReader::new("content", 3, 5).fit(ImageFit::Crop).layout(ImageLayout::Hwc), "png rgb");
    let rows = (7..10).flat_map(|y| &rgb[(y * 23 + 9) * 3..(y * 23 + 14) * 3]).copied();
    assert_eq!(crop, rows.collect::<Vec<_>>());
    let planes = one(&whole().layout(ImageLayout::Chw), "png rgb");
    assert_eq!(planes, (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3)).copied().collect::<Vec<_>>());
    let cells = whole().read(&batch(vec![Some(file("png rgb"))])).unwrap();
    assert_eq!(cells.values, Values::F32(rgb.iter().map(|v| f32::from(*v) / 255.0).collect()));
}

#[test]
fn what_cannot_be_decoded_is_a_fault_of_its_row_alone() {
    let (png, jpeg) = (file("png rgb"), file("jpeg"));
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let mut damaged = png.clone();
    let middle = png.len() / 2;
    damaged[middle] ^= 0x55;
    let cells = vec![
        Some(png.clone()),
        None,
        Some(vec![]),
        Some(b"no image".to_vec()),
        Some(png[..png.len() / 2].to_vec()),
        Some(jpeg[..jpeg.len() * 3 / 4].to_vec()),
        Some(bomb),
        Some(damaged),
        Some(png),
    ];
    let (values, faults) = bytes(&whole(), &batch(cells));
    let words = [
        "1 is null",
        "2 is empty",
        "3 is no PNG",
        "4 is a Png that",
        "5 is a JPEG that ends",
        "6 is ",
        "7 is a Png that",
    ];
    assert_eq!(faults.len(), words.len(), "{faults:?}");
    assert!(faults.iter().zip(words).all(|(fault, words)| fault.starts_with(words)), "{faults:?}");
    let (rgb, size) = (expected("rgb"), expected("rgb").len());
    assert_eq!(values[..size], rgb);
    assert_eq!(values[8 * size..], rgb);
    let small = ImageReader::new("content", 30, 30).fit(ImageFit::Crop);
    assert!(bytes(&small, &batch(vec![Some(file("png rgb"))])).1[0].contains("too few"));
    let (_, faults) = bytes(&whole().max_pixels(300), &batch(vec![Some(file("png rgb"))]));
    assert!(faults[0].contains("more than the 300 allowed"), "{faults:?}");
}

#[test]
fn no_cut_or_damage_makes_the_decoder_panic() {
    for name in ["png rgb", "jpeg", "bmp rgb"] {
        let whole_file = file(name);
        let cut = (0..whole_file.len()).map(|end| Some(whole_file[..end].to_vec()));
        let reader = whole().max_pixels(10_000);
        let (_, faults) = bytes(&reader, &batch(cut.collect()));
        // Pillow too reads a PNG without its last, empty chunk.
        assert!(faults.len() >= whole_file.len() - 12, "{name}: {} of {}", faults.len(), whole_file.len());
        let damaged = (0..whole_file.len()).map(|at| {
            let mut damaged = whole_file.clone();
            damaged[at] ^= 0xff;
            Some(damaged)
        });
        bytes(&reader, &batch(damaged.collect()));
    }
}

#[test]
fn images_of_spark_are_read_and_broken_ones_told() {
    let data: Vec<&[u8]> = vec![&[3, 2, 1, 30, 20, 10], &[7, 8], &[3, 2, 1, 255, 6, 5, 4, 0], &[], &[1, 2]];
    let numbers = |values: [i32; 5]| Arc::new(Int32Array::from(values.to_vec())) as Arc<dyn Array>;
    let fields = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let image = StructArray::from(vec![
        (fields("origin", DataType::Utf8), Arc::new(StringArray::from(vec![Some("a"); 5])) as Arc<dyn Array>),
        (fields("height", DataType::Int32), numbers([1, 1, 1, -1, 9])),
        (fields("width", DataType::Int32), numbers([2, 2, 2, -1, 9])),
        (fields("nChannels", DataType::Int32), numbers([3, 1, 4, -1, 3])),
        (fields("mode", DataType::Int32), numbers([16, 0, 24, -1, 16])),
        (fields("data", DataType::Binary), Arc::new(BinaryArray::from_vec(data)) as Arc<dyn Array>),
    ]);
    let batch = RecordBatch::try_from_iter([("image", Arc::new(image) as Arc<dyn Array>)]).unwrap();
    let reader = ImageReader::new("image", 1, 2).layout(ImageLayout::Hwc);
    assert_eq!(reader.bind("x", batch.schema_ref()).unwrap().shape.dims, [1, 2, 3]);
    let (values, faults) = bytes(&reader, &batch);
    assert_eq!(values[..18], [1, 2, 3, 10, 20, 30, 7, 7, 7, 8, 8, 8, 1, 2, 3, 4, 5, 6]);
    assert!(faults[0].contains("Spark could not") && faults[1].contains("2 bytes for 9 × 9"), "{faults:?}");
    assert_eq!(faults.len(), 2);
}

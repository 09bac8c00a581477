//! Files of other programs, and what is wrong with some. That they give what the Python package makes of them is
//! tested from there.
#![cfg(all(feature = "formats", feature = "std"))]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unrolled::formats::{Format, LoadError, load, load_file};
use unrolled::rng::Rng;
use unrolled::{Level, Sequential};

const FILES: [(&str, Format); 3] = [
    ("rtneural.json", Format::RtNeural),
    ("amp.nam", Format::Nam),
    ("proteus.json", Format::CoreAudioMl),
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/formats")
}

fn content(name: &str) -> Vec<u8> {
    std::fs::read(data().join(name)).unwrap()
}

fn read(data: &[u8]) -> Result<Sequential<f32>, LoadError> {
    load(data, Level::best())
}

#[test]
fn files_are_recognised_and_play() {
    for (name, format) in FILES {
        assert_eq!(Format::of(&content(name)), Some(format), "{name}");
        let single = load_file::<f32>(data().join(name), Level::best()).unwrap();
        let double = load_file::<f64>(data().join(name), Level::best()).unwrap();
        let x: Vec<f64> = (0..100).map(|n| f64::from(n % 17) / 17.0 - 0.5).collect();
        let x: Vec<f64> = x.iter().flat_map(|&x| vec![x; single.input_size()]).collect();
        let mut y = vec![0.0; 100 * single.output_size()];
        let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        Sequential::stream(&Arc::new(single), 1).unwrap().process(&x32, &mut y).unwrap();
        let mut wide = vec![0.0; y.len()];
        Sequential::stream(&Arc::new(double), 1).unwrap().process(&x, &mut wide).unwrap();
        for (y, wide) in y.iter().zip(&wide) {
            assert!((f64::from(*y) - wide).abs() < 1e-4, "{name}: {y} in float32, {wide}");
        }
        assert!(y.iter().any(|y| y.abs() > 1e-3), "{name} is silent");
    }
    assert_eq!(Format::of(b"RIFF"), None);
    assert!(matches!(load_file::<f32>("nowhere", Level::best()), Err(LoadError::File(_))));
}

/// The table that the Python package is tried with too.
#[test]
fn what_is_not_known_is_refused_by_name() {
    let table: Vec<Value> = serde_json::from_slice(&content("refused.json")).unwrap();
    for case in &table {
        let mut file: Value =
            serde_json::from_slice(&content(case["file"].as_str().unwrap())).unwrap();
        let mut place = &mut file;
        for key in case["set"].as_array().unwrap() {
            place = match key.as_u64() {
                Some(n) => &mut place[usize::try_from(n).unwrap()],
                None => &mut place[key.as_str().unwrap()],
            };
        }
        *place = case["to"].clone();
        let error = read(&serde_json::to_vec(&file).unwrap()).expect_err(&case.to_string());
        let names = case["names"].as_str().unwrap();
        assert!(error.to_string().contains(names), "{case}: {error}");
    }
}

fn refused(data: &[u8]) -> String {
    read(data).unwrap_err().to_string()
}

#[test]
fn damaged_files_are_refused() {
    assert!(refused(b"").contains("expected a file"));
    assert!(refused(b"RIFF1234").contains("expected a file"));
    assert!(refused(b"{").contains("JSON"));
    assert!(refused(b"{\"a\": 1, \"a\": 2}").contains("twice"));
    assert!(refused(b"{\"layers\": 1}").contains("none of these"));
    assert!(refused(&[b'['; 5 << 20]).contains("expected a file"));
    assert!(refused(&[b"{".as_slice(), &[b'['; 5 << 20]].concat()).contains("lists"));
    let deep = [b"{\"a\":".as_slice(), &[b'['; 10_000]].concat();
    assert!(refused(&deep).contains("JSON"));
    for (name, _) in FILES {
        let whole = content(name);
        for len in (0..whole.len()).step_by(1 + whole.len() / 400) {
            assert!(read(&whole[..len]).is_err(), "{name} cut at {len}");
        }
    }
}

/// A safetensors file.
fn tensors(header: &str, bytes: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

/// One of ours, of a class and its configuration, whose arrays are these.
fn ours(class: &str, config: &str, arrays: &[(&str, &[usize])]) -> Vec<u8> {
    let about = format!(r#"{{"class":"{class}","version":"0.1.0","config":{config}}}"#);
    let mut header = format!(r#"{{"__metadata__":{{"unrolled":{}}}"#, Value::from(about));
    let mut end = 0;
    for (name, shape) in arrays {
        let begin = end;
        end += shape.iter().product::<usize>() * 4;
        header += &format!(
            r#","{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        );
    }
    tensors(&(header + "}"), &vec![0; end])
}

const DENSE: &str = r#"{"in_features":2,"out_features":1,"bias":true,"dtype":"float32"}"#;
const RESIDUAL: &str = r#"{"class":"Residual","config":{"since":0}}"#;

#[test]
fn our_files_say_what_they_are() {
    let both: [(&str, &[usize]); 2] = [("weight", &[1, 2]), ("bias", &[1])];
    let model = read(&ours("Dense", DENSE, &both)).unwrap();
    assert_eq!((model.input_size(), model.output_size()), (2, 1));
    let config = format!(r#"{{"layers":[{{"class":"Dense","config":{DENSE}}},{RESIDUAL}]}}"#);
    let named: [(&str, &[usize]); 2] = [("0.weight", &[1, 2]), ("0.bias", &[1])];
    assert_eq!(read(&ours("Sequential", &config, &named)).unwrap().modules().len(), 2);

    fn wrong(class: &str, config: &str, arrays: &[(&str, &[usize])]) -> String {
        refused(&ours(class, config, arrays))
    }
    assert!(wrong("Dense", DENSE, &both[..1]).contains("bias"));
    assert!(wrong("Dense", DENSE, &[both[0], both[1], ("more", &[1])]).contains("2 arrays"));
    assert!(wrong("Dense", DENSE, &[("weight", &[2, 1]), both[1]]).contains("weight"));
    assert!(wrong("Dense", &DENSE.replace("true", "1"), &both).contains("bias"));
    assert!(wrong("Dense", &DENSE.replace("float32", "float64"), &both).contains("dtype"));
    assert!(wrong("Dense", &DENSE.replace("bias", "biases"), &both).contains("biases"));
    assert!(wrong("Conv", DENSE, &both).contains("Conv"));
    assert!(wrong("Activation", r#"{"function":"tanh"}"#, &[]).contains("parameters"));
    let config = format!(r#"{{"layers":[{RESIDUAL},{{"class":"Dense","config":{DENSE}}}]}}"#);
    assert!(
        wrong("Sequential", &config, &[("1.weight", &[1, 2]), ("1.bias", &[1])])
            .contains("earlier")
    );
    let huge = r#"{"input_size":9000000000000,"hidden_size":1,"num_layers":9000000000000}"#;
    assert!(wrong("LSTM", huge, &[]).contains("weight_ih_l0"));

    // The header's own rules.
    assert!(
        refused(&tensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]))
            .contains("unrolled.save")
    );
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(refused(&tensors(twice, &[0; 4])).contains("twice"));
    assert!(refused(&tensors("{}", &[0; 4])).contains("safetensors"));
    let mut whole = ours("Dense", DENSE, &both);
    let end = whole.len();
    whole[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused(&whole).contains("finite"));
    for len in 0..end {
        assert!(read(&whole[..len]).is_err(), "cut at {len}");
    }
}

/// Whatever a byte is changed to: a model or an error. `UNROLLED_FUZZ` says how often.
#[test]
fn changed_bytes_do_no_harm() {
    let mut rng = Rng::new(11);
    let mut any = |below: usize| (rng.uniform() * below as f64) as usize;
    let both: [(&str, &[usize]); 2] = [("weight", &[1, 2]), ("bias", &[1])];
    let mut files: Vec<_> = FILES.iter().map(|(name, _)| content(name)).collect();
    files.push(ours("Dense", DENSE, &both));
    let signs = b"{}[]\",:0123456789eE+-.ntf\\ \x00\xff";
    let turns = std::env::var("UNROLLED_FUZZ").map_or(300, |turns| turns.parse().unwrap());
    let (mut read_again, mut not) = (0, 0);
    for file in &files {
        for _ in 0..turns {
            let mut data = file.clone();
            for _ in 0..=any(3) {
                // Where the structure is, not only among the many numbers.
                let most = if any(2) == 0 { 300.min(data.len()) } else { data.len() };
                let at = any(most);
                data[at] = signs[any(signs.len())];
            }
            match read(&data) {
                Ok(_) => read_again += 1,
                Err(_) => not += 1,
            }
        }
    }
    assert!(read_again > 0 && not > 0, "{read_again} read, {not} refused");
}

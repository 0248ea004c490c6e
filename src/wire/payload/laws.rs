//! The laws of payloads: tables of `docs/protocol.md`, "Payloads", and what must hold for any bytes.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::tree::Tree;
use super::*;

const DEPTH: usize = 32;
const JSON: Encoding = Encoding::Json;
const PACK: Encoding = Encoding::MessagePack;

fn to_json(pack: &[u8]) -> Result<String, Refusal> {
    let mut out = Vec::new();
    prove(PACK, pack, DEPTH)?.write_as(JSON, &mut out);
    Ok(String::from_utf8(out).unwrap())
}

fn to_pack(json: &str) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    prove(JSON, json.as_bytes(), DEPTH)?.write_as(PACK, &mut out);
    Ok(out)
}

#[test]
fn what_json_lacks_has_one_answer_each() {
    let table: [(&[u8], &str); 22] = [
        (b"\xc0", "null"),
        (b"\xc3", "true"),
        (b"\xc4\x00", r#""""#),
        (b"\xc4\x01\xff", r#""/w==""#),
        (b"\xc5\x00\x03abc", r#""YWJj""#),
        (b"\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", "9007199254740991"),
        (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00", r#""9007199254740992""#),
        (b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x01", "-9007199254740991"),
        (b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x00", r#""-9007199254740992""#),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", r#""18446744073709551615""#),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", r#""-9223372036854775808""#),
        (b"\xca\x7f\xc0\x00\x00", "null"),
        (b"\xca\x7f\x80\x00\x00", "null"),
        (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xca\x3f\x80\x00\x00", "1.0"),
        (b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e308"),
        (b"\xd0\xff", "-1"),
        (b"\xd1\x00\x05", "5"),
        (b"\xa3a\"\n", r#""a\"\n""#),
        (b"\x82\xa1a\x01\xa1a\x90", r#"{"a":1,"a":[]}"#),
        (b"\x93\x80\x91\x80\x02", "[{},[{}],2]"),
        (b"\xdf\x00\x00\x00\x01\xd9\x01k\xdd\x00\x00\x00\x00", r#"{"k":[]}"#),
    ];
    for (pack, json) in table {
        assert_eq!(to_json(pack).as_deref(), Ok(json), "{pack:x?}");
    }
}

#[test]
fn what_json_cannot_say_is_refused_when_published() {
    let table: [&[u8]; 9] = [
        b"\xa1\xff",
        b"\x81\xa1\xff\xc0",
        b"\xd4\x01\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xc7\x02\x05ab",
        b"\x81\x01\x02",
        b"\x81\xc0\x02",
        b"\x81\x90\x02",
        b"\x91\x81\xc4\x01a\x02",
    ];
    for pack in table {
        assert_eq!(prove(PACK, pack, DEPTH), Err(Refusal::Unportable), "{pack:x?}");
    }
}

#[test]
fn a_json_number_becomes_the_shortest_integer_or_a_float() {
    let table: [(&str, &[u8]); 20] = [
        ("0", b"\x00"),
        ("127", b"\x7f"),
        ("128", b"\xcc\x80"),
        ("256", b"\xcd\x01\x00"),
        ("65536", b"\xce\x00\x01\x00\x00"),
        ("4294967296", b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-1", b"\xff"),
        ("-32", b"\xe0"),
        ("-33", b"\xd0\xdf"),
        ("-128", b"\xd0\x80"),
        ("-129", b"\xd1\xff\x7f"),
        ("-32769", b"\xd2\xff\xff\x7f\xff"),
        ("-2147483649", b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
        ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("-9223372036854775809", b"\xcb\xc3\xe0\x00\x00\x00\x00\x00\x00"),
        ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
        ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("1e0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("-0", b"\x00"),
    ];
    for (json, pack) in table {
        assert_eq!(to_pack(json).as_deref(), Ok(pack), "{json}");
    }
    assert_eq!(to_pack("1.7976931348623157e308").map(|pack| pack.len()), Ok(9));
    assert_eq!(to_pack(&"9".repeat(309)), Err(Refusal::Unportable));
    assert_eq!(to_pack(&format!("1{}", "0".repeat(308))).map(|pack| pack.len()), Ok(9));
    for overflow in ["1e309", "-1e309", "[1e99999999999999999999]", r#"{"a":179769313486231580e292}"#] {
        assert_eq!(to_pack(overflow), Err(Refusal::Unportable), "{overflow}");
    }
    assert_eq!(to_pack("0e999999").as_deref(), Ok(&b"\xcb\0\0\0\0\0\0\0\0"[..]));
    assert_eq!(to_pack("1e-999999").as_deref(), Ok(&b"\xcb\0\0\0\0\0\0\0\0"[..]));
}

#[test]
fn json_structure_becomes_counted_heads() {
    let table: [(&str, &[u8]); 8] = [
        ("[]", b"\x90"),
        (" [ ] ", b"\x90"),
        ("{}", b"\x80"),
        (r#"[[],{},[1,[2]]]"#, b"\x93\x90\x80\x92\x01\x91\x02"),
        (r#"{"a":{"b":[1,2]},"a":null}"#, b"\x82\xa1a\x81\xa1b\x92\x01\x02\xa1a\xc0"),
        (r#"[true,false]"#, b"\x92\xc3\xc2"),
        (r#""a\u0000,]\"""#, b"\xa5a\0,]\""),
        (r#""\ud83d\ude00""#, b"\xa4\xf0\x9f\x98\x80"),
    ];
    for (json, pack) in table {
        assert_eq!(to_pack(json).as_deref(), Ok(pack), "{json}");
    }
    let many = format!("[{}0]", "0,".repeat(69_999));
    assert_eq!(to_pack(&many).unwrap()[..5], *b"\xdd\x00\x01\x11\x70");
}

#[test]
fn a_lone_surrogate_is_refused_and_a_pair_is_not() {
    for lone in [r#""\ud800""#, r#""\udc00 ""#, r#"["\ud800\ud800"]"#, r#"{"\udfff":1}"#, r#""\ud800\u0041""#] {
        assert_eq!(prove(JSON, lone.as_bytes(), DEPTH), Err(Refusal::Unportable), "{lone}");
    }
    assert!(prove(JSON, br#""\uD83D\uDE00""#, DEPTH).is_ok());
}

#[test]
fn what_is_not_json_is_malformed() {
    let table = [
        "",
        " ",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{1:2}",
        "{\"a\" 1}",
        "[1}",
        "{\"a\":1]",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "1.e1",
        "--1",
        "nul",
        "True",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\u{1f}\"",
        "1 2",
        "[] []",
        "1,",
        "'a'",
        "\u{feff}1",
        "NaN",
        "Infinity",
        "/**/1",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "\"\\ud800\\u12\"",
        "\u{b}1",
    ];
    for json in table {
        assert_eq!(prove(JSON, json.as_bytes(), DEPTH), Err(Refusal::Malformed), "{json:?}");
    }
    assert_eq!(prove(JSON, b"\"\xff\"", DEPTH), Err(Refusal::Malformed));
}

#[test]
fn what_is_not_one_messagepack_value_is_malformed() {
    let table: [&[u8]; 18] = [
        b"",
        b"\xc1",
        b"\x91\xc1",
        b"\x91",
        b"\x81\xa1a",
        b"\xa2a",
        b"\xcc",
        b"\xcd\x00",
        b"\xcf\0\0\0",
        b"\xca\0",
        b"\xd9",
        b"\xd9\x02a",
        b"\xc4\x05abcd",
        b"\xd4\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff\xc0",
        b"\xdb\xff\xff\xff\xffabc",
        b"\x01\x02",
    ];
    for pack in table {
        assert_eq!(prove(PACK, pack, DEPTH), Err(Refusal::Malformed), "{pack:x?}");
    }
}

#[test]
fn the_depth_limit_is_exact_and_a_bomb_costs_nothing() {
    for depth in [0, 1, 31, 32] {
        assert!(prove(JSON, nested_json(depth).as_bytes(), DEPTH).is_ok(), "{depth}");
        assert!(prove(PACK, &nested_pack(depth), DEPTH).is_ok(), "{depth}");
    }
    for depth in [33, 34, 64, 65, 1_000, 500_000] {
        assert_eq!(prove(JSON, nested_json(depth).as_bytes(), DEPTH), Err(Refusal::TooDeep), "{depth}");
        assert_eq!(prove(PACK, &nested_pack(depth), DEPTH), Err(Refusal::TooDeep), "{depth}");
    }
    for bomb in [&b"["[..], b"{\"a\":", b"[{\"a\":"] {
        assert_eq!(prove(JSON, &bomb.repeat(1_000_000 / bomb.len()), DEPTH), Err(Refusal::TooDeep));
    }
    for bomb in [&b"\x91"[..], b"\x81\xa1a", b"\x81", b"\xdd\x00\x00\x00\x01"] {
        assert_eq!(prove(PACK, &bomb.repeat(1_000_000 / bomb.len()), DEPTH), Err(Refusal::TooDeep));
    }
    assert_eq!(prove(JSON, nested_json(DEPTH_CEILING + 1).as_bytes(), usize::MAX), Err(Refusal::TooDeep));
    let deepest = prove(PACK, &nested_pack(DEPTH_CEILING), usize::MAX).unwrap().to_payload();
    let (mut json, mut back) = (Vec::new(), Vec::new());
    deepest.write_as(JSON, &mut json);
    prove(JSON, &json, usize::MAX).unwrap().write_as(PACK, &mut back);
    assert_eq!(back, nested_pack(DEPTH_CEILING));
}

#[test]
fn a_megabyte_of_empty_arrays_is_a_payload_like_any_other() {
    let json = format!("[{}[]]", "[],".repeat(333_332));
    let pack = to_pack(&json).unwrap();
    assert_eq!(pack.len(), 5 + 333_333);
    assert_eq!(to_json(&pack).unwrap(), json);
}

#[test]
fn white_space_goes_and_strings_keep_theirs() {
    let data = prove(JSON, b" \t\r\n{ \"a b\" : [ 1 , \" \\\" x \" ] , \"c\" : { } }\n", DEPTH).unwrap();
    let tight = br#"{"a b":[1," \" x "],"c":{}}"#;
    assert_eq!(data.to_payload().bytes()[..], tight[..]);
    let mut out = Vec::new();
    data.write_as(JSON, &mut out);
    assert_eq!(out, tight);
}

fn nested_json(depth: usize) -> String {
    format!("{}0{}", "[".repeat(depth), "]".repeat(depth))
}

fn nested_pack(depth: usize) -> Vec<u8> {
    [vec![0x91; depth], vec![0]].concat()
}

/// Bytes that are often nearly a value: a proper one with a few bytes changed, cut or doubled.
pub(crate) fn nearly(
    proper: impl Strategy<Value = Vec<u8>> + 'static,
    bytes: impl Strategy<Value = u8> + 'static,
) -> BoxedStrategy<Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), bytes, 0..4_u8), 0..4);
    let change = |(mut bytes, changes): (Vec<u8>, Vec<(prop::sample::Index, u8, u8)>)| {
        for (place, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => bytes.truncate(place),
                2 => bytes.insert(place, byte),
                _ => {
                    bytes.remove(place);
                }
            }
        }
        bytes
    };
    (proper, changes).prop_map(change).boxed()
}

fn nearly_json() -> BoxedStrategy<Vec<u8>> {
    let letters = prop::sample::select(b"{}[]\",:\\u01.eE+-d8c tfn\n\x01".to_vec());
    nearly(Tree::any_json().prop_map(|tree| tree.to_bytes(JSON)), letters)
}

fn nearly_pack() -> BoxedStrategy<Vec<u8>> {
    nearly(Tree::any_msgpack().prop_map(|tree| tree.to_bytes(PACK)), any::<u8>())
}

/// Whatever is proved is read alike by decoders that are not ours, in both encodings.
fn check_proved(encoding: Encoding, bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(data) = prove(encoding, bytes, DEPTH) else {
        return Ok(());
    };
    let payload = data.to_payload();
    for to in Encoding::ALL {
        let (mut out, mut again) = (Vec::new(), Vec::new());
        data.write_as(to, &mut out);
        payload.write_as(to, &mut again);
        prop_assert_eq!(&out, &again, "a copy is written like its original");
        let tree = Tree::read(to, &out);
        prop_assert!(tree.is_some(), "not readable as {:?}: {:x?}", to, out);
        let proved = prove(to, &out, DEPTH);
        prop_assert_eq!(proved.map(|data| data.raw()), Ok(&out[..]), "what we write is tight and proved");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_at_all_make_a_walk_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for encoding in Encoding::ALL {
            check_proved(encoding, &bytes)?;
            let _ = (walk(encoding, &bytes, 0, 64), skim(encoding, &bytes, 0));
        }
    }

    #[test]
    fn what_is_nearly_json_is_judged_as_serde_json_does(bytes in nearly_json()) {
        check_proved(JSON, &bytes)?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let proper = serde_json::from_str::<IgnoredAny>(text).is_ok();
            let verdict = prove(JSON, &bytes, DEPTH);
            prop_assert_eq!(proper, verdict != Err(Refusal::Malformed), "{:?} {:?}", text, verdict);
        }
        let _ = skim(JSON, &bytes, 0);
    }

    #[test]
    fn what_is_nearly_messagepack_never_fools_a_reader(bytes in nearly_pack()) {
        check_proved(PACK, &bytes)?;
        let proper = Tree::read(PACK, &bytes).is_some();
        let verdict = prove(PACK, &bytes, DEPTH);
        prop_assert!(!proper || verdict != Err(Refusal::Malformed), "{:x?}", bytes);
        if verdict.is_ok() {
            prop_assert_eq!(skim(PACK, &bytes, 0), Ok(bytes.len()));
        }
    }

    #[test]
    fn a_float_is_the_same_float_in_both_encodings(value in prop::num::f64::ANY.prop_filter("finite", |it| it.is_finite())) {
        let pack = [&[0xcb][..], &value.to_be_bytes()].concat();
        let json = to_json(&pack).unwrap();
        prop_assert_eq!(json.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
        prop_assert_eq!(to_pack(&json), Ok(pack));
    }

    #[test]
    fn any_json_value_is_carried_and_mapped(tree in Tree::any_json()) {
        check_mapping(&tree, JSON)?;
    }

    #[test]
    fn any_messagepack_value_is_carried_and_mapped_or_refused(tree in Tree::any_msgpack()) {
        check_mapping(&tree, PACK)?;
    }
}

fn check_mapping(tree: &Tree, from: Encoding) -> Result<(), TestCaseError> {
    let bytes = tree.to_bytes(from);
    let portable = Encoding::ALL.iter().all(|to| tree.mapped(*to).is_some());
    let data = match prove(from, &bytes, DEPTH) {
        Ok(data) => data,
        Err(refusal) => {
            prop_assert_eq!(refusal, Refusal::Unportable);
            prop_assert!(!portable && tree.depth() <= DEPTH);
            return Ok(());
        }
    };
    prop_assert!(portable);
    for to in Encoding::ALL {
        let mut out = Vec::new();
        data.write_as(to, &mut out);
        let expected = if to == from { Some(tree.clone()) } else { tree.mapped(to) };
        prop_assert_eq!(Tree::read(to, &out), expected);
    }
    Ok(())
}

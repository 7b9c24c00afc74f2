//! Python objects as the bytes that a Spark worker unpickles.

/// A value that a function finds under a name.
#[derive(Debug, Clone)]
pub(crate) enum Global {
    Text(String),
    Bytes(Vec<u8>),
}

/// Returns the pair of a function and its result's type that a worker expects: what the expression gives when it is
/// evaluated with these names defined, and a Spark type in JSON.
///
/// Pickle protocol 3, put together by hand: two calls, `eval(expression, names)` and PySpark's reader of types.
pub(super) fn function(expression: &str, names: &[(&str, Global)], result: &str) -> Vec<u8> {
    let mut bytes = vec![0x80, 3];
    global(&mut bytes, "builtins", "eval");
    text(&mut bytes, expression);
    bytes.extend(b"}(");
    for (name, value) in names {
        text(&mut bytes, name);
        match value {
            Global::Text(value) => text(&mut bytes, value),
            Global::Bytes(value) => counted(&mut bytes, b'B', value),
        }
    }
    // The pairs into the dictionary; a pair of arguments; the call.
    bytes.extend(b"u\x86R");
    global(&mut bytes, "pyspark.sql.types", "_parse_datatype_json_string");
    text(&mut bytes, result);
    bytes.extend(b"\x85R\x86.");
    bytes
}

fn global(bytes: &mut Vec<u8>, module: &str, name: &str) {
    bytes.extend(format!("c{module}\n{name}\n").bytes());
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    counted(bytes, b'X', text.as_bytes());
}

fn counted(bytes: &mut Vec<u8>, opcode: u8, content: &[u8]) {
    bytes.push(opcode);
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_is_two_calls_and_their_arguments() {
        // pickletools.dis of CPython 3.11 reads this as eval('f(x)', {'x': b'\x01'}) and the type, in a tuple.
        let bytes = function("f(x)", &[("x", Global::Bytes(vec![1]))], "\"long\"");
        let expected = b"\x80\x03cbuiltins\neval\nX\x04\0\0\0f(x)}(X\x01\0\0\0xB\x01\0\0\0\x01u\x86R\
                         cpyspark.sql.types\n_parse_datatype_json_string\nX\x06\0\0\0\"long\"\x85R\x86.";
        assert_eq!(bytes, expected);
    }
}

//! Word documents that are none, or more than that.

use super::{assert_all_refused, file, gateway, post_form};
use crate::support::Upstream;
use crate::support::zip::{
    Entry, deflated, document, document_changed, document_with, stored, zip, zip_with,
};

const RELATIONS: &str = "word/_rels/document.xml.rels";
const TYPES: &str = "[Content_Types].xml";

/// The usual document with one entry changed.
fn with(change: impl Fn(&mut Entry)) -> Vec<u8> {
    let mut entries = document();
    change(entries.last_mut().unwrap());
    zip(&entries)
}

fn without(name: &str) -> Vec<u8> {
    let entries: Vec<Entry> = document()
        .into_iter()
        .filter(|entry| entry.name != name.as_bytes())
        .collect();
    zip(&entries)
}

/// A few bytes that unpack to many.
fn bomb(size: usize) -> Vec<u8> {
    document_with(&[deflated("word/media/a.png", &vec![0; size])])
}

/// A document whose word on its size is a lie.
fn liar() -> Vec<u8> {
    let mut entry = deflated("word/media/a.png", &vec![0; 8 * 1024 * 1024]);
    entry.size = 1000;
    document_with(&[entry])
}

fn structure() -> Vec<(&'static str, Vec<u8>)> {
    let good = zip(&document());
    let before = [b"MZ programs begin so".as_slice(), &good].concat();
    let behind = [&good, b"more".as_slice()].concat();
    vec![
        ("a zip file of anything", zip(&[stored("a.txt", b"text")])),
        ("no entries", zip(&[])),
        ("cut short", good[..good.len() - 30].to_vec()),
        ("something before it", before),
        ("something behind it", behind),
        ("a comment", zip_with(&document(), b"", b"a comment")),
        ("something between", zip_with(&document(), b"hidden", b"")),
        ("no list of types", without(TYPES)),
        ("no relations", without("_rels/.rels")),
        ("no text", without("word/document.xml")),
        (
            "an entry twice",
            document_with(&[stored("word/document.xml", b"<a/>")]),
        ),
        (
            "an entry twice in another case",
            document_with(&[stored("Word/Document.xml", b"<a/>")]),
        ),
        (
            "another name in the directory",
            with(|entry| entry.local_name = b"word/media/image2.png".to_vec()),
        ),
        ("another checksum", with(|entry| entry.crc ^= 1)),
        ("another size", with(|entry| entry.size += 1)),
        ("another way of packing", with(|entry| entry.method = 12)),
        ("encrypted", with(|entry| entry.flags = 1)),
        (
            "data behind the packed data",
            document_with(&[deflated("word/a.xml", b"<a/>").padded()]),
        ),
    ]
}

fn names() -> Vec<(&'static str, Vec<u8>)> {
    let named = |name: &str| document_with(&[stored(name, b"data")]);
    let link = |mode: u32| {
        document_with(&[Entry {
            external: mode << 16,
            ..stored("word/media/link", b"/etc/passwd")
        }])
    };
    vec![
        ("a way out", named("../../etc/cron.d/a")),
        ("a way out further on", named("word/../../a")),
        ("a path from the root", named("/etc/a")),
        ("another system's path", named("word\\..\\a.txt")),
        ("a drive", named("C:a.txt")),
        ("a zero", named("a\0b")),
        ("an empty part", named("word//a.txt")),
        ("a link", link(0o120_777)),
        (
            "a folder with content",
            document_with(&[stored("word/x/", b"data")]),
        ),
    ]
}

fn programs() -> Vec<(&'static str, Vec<u8>)> {
    let nested = zip(&[stored("a.txt", b"text")]);
    let entity = "<!DOCTYPE a [<!ENTITY b \"c\">]><w:document";
    vec![
        (
            "macros",
            document_with(&[stored("word/vbaProject.bin", b"data")]),
        ),
        (
            "macros elsewhere",
            document_with(&[stored("word/other/VBAPROJECT.xml", b"<a/>")]),
        ),
        (
            "an embedded object",
            document_with(&[stored("word/embeddings/oleObject1.bin", b"data")]),
        ),
        (
            "an embedded sheet",
            document_with(&[stored("word/embeddings/sheet.xlsx", &nested)]),
        ),
        (
            "a control",
            document_with(&[stored("word/activeX/activeX1.xml", b"<a/>")]),
        ),
        (
            "a document with macros",
            document_changed(
                TYPES,
                "vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
                "vnd.ms-word.document.macroEnabled.main+xml",
            ),
        ),
        (
            "a type of macros",
            document_changed(
                TYPES,
                "</Types>",
                "<Default Extension=\"x\" ContentType=\"application/vnd.ms-office.vbaProject\"/></Types>",
            ),
        ),
        (
            "a relation to macros",
            document_changed(
                RELATIONS,
                "relationships/hyperlink",
                "relationships/vbaProject",
            ),
        ),
        (
            "another kind of document",
            document_changed(TYPES, "wordprocessingml.document", "spreadsheetml.sheet"),
        ),
        (
            "an archive",
            document_with(&[stored("word/media/a.png", &nested)]),
        ),
        (
            "a packed archive",
            document_with(&[deflated("word/media/a.png", b"Rar!\x1a\x07\0")]),
        ),
        (
            "a program",
            document_with(&[deflated("word/media/a.png", b"\x7fELF\x02")]),
        ),
        (
            "an old document",
            document_with(&[stored(
                "word/media/a.png",
                b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            )]),
        ),
        (
            "entities",
            document_changed("word/document.xml", "<w:document", entity),
        ),
        (
            "XML in UTF-16",
            document_with(&[stored("word/a.xml", b"\xff\xfe<\0a\0/\0>\0")]),
        ),
        (
            "XML in UTF-16 without a mark",
            document_with(&[stored("word/a.xml", b"<\0a\0/\0>\0")]),
        ),
        (
            "a template from elsewhere",
            document_changed(
                RELATIONS,
                "relationships/hyperlink",
                "relationships/attachedTemplate",
            ),
        ),
        (
            "hidden words",
            document_changed(
                RELATIONS,
                "relationships/hyperlink",
                "relationships/&#118;baProject",
            ),
        ),
    ]
}

async fn all_refused(cases: Vec<(&str, Vec<u8>)>) {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut answers = Vec::new();
    for (what, content) in cases {
        let part = file("a.docx", "application/octet-stream", &content);
        let answer = post_form(&gateway.client(), "/upload", &[part])
            .send()
            .await;
        answers.push((what, answer, (422, "upload-content-refused")));
    }
    assert_all_refused(&upstream, &answers);
}

#[tokio::test]
async fn documents_with_two_readings_are_refused() {
    all_refused(structure()).await;
}

#[tokio::test]
async fn documents_whose_entries_lead_elsewhere_are_refused() {
    all_refused(names()).await;
}

#[tokio::test]
async fn documents_with_programs_in_them_are_refused() {
    all_refused(programs()).await;
}

#[tokio::test]
async fn documents_that_unpack_to_far_more_are_refused() {
    let many: Vec<Entry> = (0..2_500)
        .map(|number| stored(&format!("word/{number}.txt"), b""))
        .collect();
    all_refused(vec![
        ("a bomb", bomb(32 * 1024 * 1024)),
        ("one that lies", liar()),
        ("many entries", document_with(&many)),
    ])
    .await;
}

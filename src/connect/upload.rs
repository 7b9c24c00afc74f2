//! Sends data to the session's artifacts, where cached local relations find it by its hash.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use spark_connect_proto::{self as proto, add_artifacts_request as add};

use super::client::{Client, request};
use crate::{Error, Result};

/// Size of a piece; the server refuses messages over 128 MiB.
const PIECE: usize = 1 << 20;

impl Client {
    /// Uploads blocks that the session does not hold yet; returns their SHA-256 hashes in hexadecimal, by which
    /// `CachedLocalRelation` and its chunked form name them.
    ///
    /// # Errors
    /// [`Error::Incomplete`] when a block arrived damaged; [`Error::Server`]; [`Error::Unreachable`].
    pub async fn upload(&self, blocks: Vec<Bytes>) -> Result<Vec<String>> {
        let hashes: Vec<String> = blocks.iter().map(|block| hex(&Sha256::digest(block))).collect();
        let present = self.artifacts_present(hashes.iter().map(|hash| name(hash)).collect()).await?;
        for (hash, block) in hashes.iter().zip(blocks) {
            if !present.get(&name(hash)).copied().unwrap_or(false) {
                self.upload_artifact(name(hash), block).await?;
            }
        }
        Ok(hashes)
    }

    /// Uploads a file beside the session's Python functions unless the server has it; returns its name.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub(crate) async fn upload_file(&self, content: Bytes) -> Result<String> {
        let file = format!("tinderbox-{}", hex(&Sha256::digest(&content)));
        let name = format!("files/{file}");
        let present = self.artifacts_present(vec![name.clone()]).await?;
        if !present.get(&name).copied().unwrap_or(false) {
            self.upload_artifact(name, content).await?;
        }
        Ok(file)
    }

    /// Sends content to the session, under a name of the protocol's: a folder that says what it is for, and its own.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub(crate) async fn upload_artifact(&self, name: String, block: Bytes) -> Result<()> {
        let pieces = pieces(&name, &block);
        let messages: Vec<_> =
            pieces.into_iter().map(|payload| request!(self, AddArtifactsRequest { payload: Some(payload) })).collect();
        let call = move |mut stub: super::client::Stub, request: tonic::Request<Vec<proto::AddArtifactsRequest>>| {
            let request = request.map(futures::stream::iter);
            Box::pin(async move { stub.add_artifacts(request).await }) as futures::future::BoxFuture<'static, _>
        };
        let answer: proto::AddArtifactsResponse = self.call(messages, call).await?;
        self.note_server_session(&answer.server_side_session_id);
        match answer.artifacts.iter().find(|artifact| !artifact.is_crc_successful) {
            Some(damaged) => Err(Error::Incomplete {
                operation: "AddArtifacts".into(),
                reason: format!("`{}` arrived damaged", damaged.name),
            }),
            None => Ok(()),
        }
    }
}

fn name(hash: &str) -> String {
    format!("cache/{hash}")
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the messages that carry a block: one when it is small, else a beginning and what follows.
fn pieces(name: &str, block: &Bytes) -> Vec<add::Payload> {
    let piece = |from: usize| {
        let data = block.slice(from..block.len().min(from + PIECE));
        add::ArtifactChunk { crc: crc32fast::hash(&data).into(), data }
    };
    if block.len() <= PIECE {
        let artifact = add::SingleChunkArtifact { name: name.into(), data: Some(piece(0)) };
        return vec![add::Payload::Batch(add::Batch { artifacts: vec![artifact] })];
    }
    let begin = add::BeginChunkedArtifact {
        name: name.into(),
        total_bytes: block.len() as i64,
        num_chunks: block.len().div_ceil(PIECE) as i64,
        initial_chunk: Some(piece(0)),
    };
    let rest = (PIECE..block.len()).step_by(PIECE).map(|from| add::Payload::Chunk(piece(from)));
    std::iter::once(add::Payload::BeginChunk(begin)).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_into_pieces_that_make_it_up() {
        let block = Bytes::from((0..2 * PIECE + 5).map(|i| i as u8).collect::<Vec<_>>());
        let mut glued = Vec::new();
        for payload in pieces("cache/x", &block) {
            let piece = match payload {
                add::Payload::BeginChunk(begin) => {
                    assert_eq!((begin.total_bytes, begin.num_chunks), (block.len() as i64, 3));
                    begin.initial_chunk.unwrap()
                }
                add::Payload::Chunk(piece) => piece,
                add::Payload::Batch(_) => panic!("too large for one message"),
            };
            assert_eq!(piece.crc, i64::from(crc32fast::hash(&piece.data)));
            glued.extend_from_slice(&piece.data);
        }
        assert_eq!(glued, block);
        assert!(matches!(pieces("cache/x", &Bytes::new()).as_slice(), [add::Payload::Batch(_)]));
        assert!(matches!(pieces("cache/x", &block.slice(..PIECE)).as_slice(), [add::Payload::Batch(_)]));
    }

    #[test]
    fn hashes_are_sha_256_in_hexadecimal() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, "abc"
        assert_eq!(hex(&Sha256::digest(b"abc")), known);
    }
}

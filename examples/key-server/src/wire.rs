//! Messages on a byte stream: a big-endian `u32` length, then as many bytes. A length is compared with
//! [`keystow::MAX_MESSAGE`] before anything is allocated, and the buffer grows with what arrives, not with what was claimed.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads the next message's bytes; none at the clean end of the stream.
///
/// # Errors
/// The stream's; `InvalidData` for a length of 0 or over 1 MiB, `UnexpectedEof` for a stream that ends inside of a message.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > keystow::MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message's length is out of bounds"));
    }
    let mut message = Vec::with_capacity(length.min(4096));
    let limit = u64::try_from(length).unwrap_or(u64::MAX);
    if stream.take(limit).read_to_end(&mut message).await? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

/// Writes a message's length and bytes, and flushes.
///
/// # Errors
/// The stream's; `InvalidInput` for a message over 1 MiB.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= keystow::MAX_MESSAGE);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message is too long"))?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    stream.flush().await
}

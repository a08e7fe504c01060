//! Files in a folder or in a bucket: recordings, voicemail, greetings, prompts.
//!
//! A folder may be shared by several nodes (NFS, a cluster file system): each object is written beside its
//! place, flushed, and renamed into it, so that a reader sees all of it or nothing.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};

/// The most bytes of an object that is read whole.
pub const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most objects that a listing tells of.
pub const LISTED_MAX: usize = 100_000;

/// The longest name of an object, in bytes.
pub const OBJECT_NAME_BYTES_MAX: usize = 512;

/// Why an object could not be kept or found.
#[derive(Debug)]
pub enum ObjectError {
    /// The place cannot be used; what is wrong with it.
    Place {
        /// What.
        reason: String,
    },
    /// The name is empty, too long, or leads out of the store.
    Name,
    /// There is no such object.
    NotFound,
    /// The object is larger than what may be read whole.
    TooLarge {
        /// How large it is.
        size_bytes: u64,
    },
    /// The store gave no answer in time.
    TimedOut,
    /// The store refused or could not be reached.
    Store {
        /// What it said.
        source: object_store::Error,
    },
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place { reason } => write!(f, "the media store cannot be used: {reason}"),
            Self::Name => f.write_str("a name that the media store does not take"),
            Self::NotFound => f.write_str("there is no such file in the media store"),
            Self::TooLarge { size_bytes } => write!(
                f,
                "the file has {size_bytes} bytes; {OBJECT_BYTES_MAX} are read at most"
            ),
            Self::TimedOut => f.write_str("the media store gave no answer in time"),
            Self::Store { source } => write!(f, "the media store: {source}"),
        }
    }
}

impl std::error::Error for ObjectError {}

impl From<object_store::Error> for ObjectError {
    fn from(source: object_store::Error) -> Self {
        match source {
            object_store::Error::NotFound { .. } => Self::NotFound,
            source => Self::Store { source },
        }
    }
}

/// Where objects are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, made if it is not there.
    Folder(PathBuf),
    /// A bucket of S3, or of what speaks like it.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all names begin with; may be empty.
        prefix: String,
        /// Where it is, if not at the region's own address: `https://minio.example:9000`.
        endpoint: Option<String>,
        /// The region.
        region: String,
        /// Key and secret; without them those of the environment or of the machine's role.
        credentials: Option<(String, String)>,
    },
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "Folder({})", path.display()),
            Self::S3 { bucket, prefix, .. } => write!(f, "S3({bucket}/{prefix})"),
        }
    }
}

/// An open media store. Clones share it.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    timeout: Duration,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.store)
    }
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How large it is.
    pub size_bytes: u64,
    /// When it was written, in milliseconds since 1970.
    pub written_unix_ms: u64,
}

impl Objects {
    /// Opens a media store. A bucket is not asked for anything yet. No operation takes longer than `timeout`.
    ///
    /// # Errors
    /// [`ObjectError::Place`].
    pub fn open(place: &Place, timeout: Duration) -> Result<Objects, ObjectError> {
        let store: Arc<dyn ObjectStore> = match place {
            Place::Folder(path) => Arc::new(folder(path)?),
            Place::S3 {
                bucket,
                prefix,
                endpoint,
                region,
                credentials,
            } => {
                // The one provider of this program; that another has installed it already is as good.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_region(region)
                    .with_client_options(ClientOptions::new().with_timeout(timeout))
                    .with_retry(RetryConfig {
                        max_retries: 3,
                        retry_timeout: timeout,
                        ..RetryConfig::default()
                    });
                if let Some(endpoint) = endpoint {
                    builder = builder
                        .with_config(AmazonS3ConfigKey::Endpoint, endpoint)
                        .with_allow_http(endpoint.starts_with("http://"));
                }
                if let Some((key, secret)) = credentials {
                    builder = builder
                        .with_access_key_id(key)
                        .with_secret_access_key(secret);
                }
                let bucket = builder.build().map_err(|error| ObjectError::Place {
                    reason: error.to_string(),
                })?;
                Arc::new(PrefixStore::new(bucket, path(prefix)?))
            }
        };
        Ok(Objects { store, timeout })
    }

    /// Keeps an object; when this returns it is safe. One of the same name is replaced.
    ///
    /// # Errors
    /// [`ObjectError::Name`], [`ObjectError::TimedOut`], [`ObjectError::Store`] (a full disk among them).
    pub async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), ObjectError> {
        let path = named(name)?;
        self.timed(self.store.put(&path, content.into())).await?;
        Ok(())
    }

    /// Reads an object whole.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`], [`ObjectError::TooLarge`] and what the store may answer.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        let path = named(name)?;
        let found = self.timed(self.store.get(&path)).await?;
        let size_bytes = found.meta.size;
        if size_bytes > OBJECT_BYTES_MAX {
            return Err(ObjectError::TooLarge { size_bytes });
        }
        Ok(self.timed(found.bytes()).await?.to_vec())
    }

    /// Removes an object; that it is not there is no error.
    ///
    /// # Errors
    /// What the store may answer.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectError> {
        let path = named(name)?;
        match self.timed(self.store.delete(&path)).await {
            Err(ObjectError::NotFound) => Ok(()),
            done => done,
        }
    }

    /// The objects whose names begin with the folders of `prefix`, by name.
    ///
    /// # Errors
    /// What the store may answer.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectError> {
        let prefix = path(prefix)?;
        let prefix = (!prefix.as_ref().is_empty()).then_some(&prefix);
        let stream = self.store.list(prefix);
        let found = stream.try_fold(Vec::new(), |mut listed, meta| async move {
            if listed.len() < LISTED_MAX {
                listed.push(Listed {
                    name: meta.location.to_string(),
                    size_bytes: meta.size,
                    written_unix_ms: u64::try_from(meta.last_modified.timestamp_millis())
                        .unwrap_or(0),
                });
            }
            Ok(listed)
        });
        let mut listed = match self.timed(found).await {
            Err(ObjectError::NotFound) => Vec::new(),
            found => found?,
        };
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    async fn timed<T>(
        &self,
        operation: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, ObjectError> {
        match tokio::time::timeout(self.timeout, operation).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ObjectError::TimedOut),
        }
    }
}

fn folder(path: &FilePath) -> Result<LocalFileSystem, ObjectError> {
    let refused = |reason: String| ObjectError::Place {
        reason: format!("{}: {reason}", path.display()),
    };
    std::fs::create_dir_all(path).map_err(|error| refused(error.to_string()))?;
    let folder =
        LocalFileSystem::new_with_prefix(path).map_err(|error| refused(error.to_string()))?;
    Ok(folder.with_fsync(true))
}

fn path(name: &str) -> Result<Path, ObjectError> {
    if name.len() > OBJECT_NAME_BYTES_MAX {
        return Err(ObjectError::Name);
    }
    Path::parse(name).map_err(|_| ObjectError::Name)
}

fn named(name: &str) -> Result<Path, ObjectError> {
    match path(name) {
        Ok(path) if path.as_ref().is_empty() => Err(ObjectError::Name),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (tempfile::TempDir, Objects) {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().join("media"));
        let objects = Objects::open(&place, Duration::from_secs(5)).unwrap();
        (folder, objects)
    }

    #[tokio::test]
    async fn what_was_kept_is_found_listed_and_removed() {
        let (_folder, objects) = opened();
        objects
            .put("voicemail/100/2.wav", vec![2; 9])
            .await
            .unwrap();
        objects.put("voicemail/100/1.wav", vec![1]).await.unwrap();
        objects.put("greeting/100.wav", vec![3]).await.unwrap();
        objects.put("voicemail/100/1.wav", vec![7]).await.unwrap();
        assert_eq!(objects.read("voicemail/100/1.wav").await.unwrap(), [7]);
        let listed = objects.list("voicemail/100").await.unwrap();
        let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["voicemail/100/1.wav", "voicemail/100/2.wav"]);
        assert_eq!(listed[1].size_bytes, 9);
        objects.remove("voicemail/100/1.wav").await.unwrap();
        objects.remove("voicemail/100/1.wav").await.unwrap();
        let gone = objects.read("voicemail/100/1.wav").await;
        assert!(matches!(gone, Err(ObjectError::NotFound)), "{gone:?}");
        assert!(objects.list("nothing").await.unwrap().is_empty());
        assert_eq!(objects.list("").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_name_does_not_lead_out_of_the_store() {
        let (_folder, objects) = opened();
        for name in ["", "/", "..", "a/../../b", "a//b", "./a"] {
            let refused = objects.put(name, vec![1]).await;
            assert!(
                matches!(refused, Err(ObjectError::Name)),
                "{name:?} {refused:?}"
            );
        }
        let long = "n".repeat(OBJECT_NAME_BYTES_MAX + 1);
        assert!(matches!(objects.read(&long).await, Err(ObjectError::Name)));
    }

    /// By hand, beside anything that speaks S3: `HOLDLINE_TEST_S3=http://127.0.0.1:5000/bucket`.
    #[tokio::test]
    async fn a_bucket_keeps_what_a_folder_keeps() {
        let Ok(url) = std::env::var("HOLDLINE_TEST_S3") else {
            eprintln!("HOLDLINE_TEST_S3 names no bucket: passed over");
            return;
        };
        let (endpoint, bucket) = url.rsplit_once('/').unwrap();
        let place = Place::S3 {
            bucket: bucket.into(),
            prefix: "of/holdline".into(),
            endpoint: Some(endpoint.into()),
            region: "us-east-1".into(),
            credentials: Some(("key".into(), "secret".into())),
        };
        let objects = Objects::open(&place, Duration::from_secs(5)).unwrap();
        objects.put("a/1.wav", vec![1; 100_000]).await.unwrap();
        objects.put("a/2.wav", vec![2]).await.unwrap();
        assert_eq!(objects.read("a/1.wav").await.unwrap(), vec![1; 100_000]);
        let listed = objects.list("a").await.unwrap();
        let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["a/1.wav", "a/2.wav"]);
        objects.remove("a/1.wav").await.unwrap();
        objects.remove("a/1.wav").await.unwrap();
        let gone = objects.read("a/1.wav").await;
        assert!(matches!(gone, Err(ObjectError::NotFound)), "{gone:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_with_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let place = Place::Folder(file.path().join("below"));
        let refused = Objects::open(&place, Duration::from_secs(1)).unwrap_err();
        assert!(refused.to_string().contains("below"), "{refused}");
    }

    #[test]
    fn the_secret_of_a_bucket_is_not_printed() {
        let place = Place::S3 {
            bucket: "b".into(),
            prefix: String::new(),
            endpoint: None,
            region: "r".into(),
            credentials: Some(("key".into(), "secret".into())),
        };
        let shown = format!(
            "{place:?} {:?}",
            Objects::open(&place, Duration::from_secs(1))
        );
        assert!(
            !shown.contains("secret") && !shown.contains("key"),
            "{shown}"
        );
    }
}

//! The members of what `--json` prints, of subcommands that do not name them themselves.
//!
//! Responsible for naming all of them: programs depend on them. Must not know where the values come from.

pub(super) const TRANSFERS_AND_LAYOUTS: &str = "\
Print a JSON object instead of a digest

If a command whose words are understood fails, the last line of standard error
is an object; what is in failure is null where it does not apply:
  error                     the first message
  failure                   kind: a word for the exit code: refused, usage,
                            notFound, auth, temporary, mismatch, cancelled;
                            registry, server, method, path, status, codes,
                            requestId: the request and its response;
                            expected, found: each with digest and size;
                            attempts: how often it was tried in vain

pull, push, copy:
  source, destination       as given, with NAME filled in
  digest, mediaType, size   the manifest or index that was moved
  tags                      the tags that refer to it now; none in a layout
  blobsMoved, bytesMoved    moved over the network
  blobsMounted              mounted from another repository
  blobsPresent              already at the destination
  layersLeftOut             number of foreign layers left out
  leftOut                   the first 100 of them: mediaType, digest, size
  entriesAbsent             number of entries of the index that were not wanted
  unlisted                  manifests that could not be added to the referrers
                            list of their subject: digest, subject, why
  carried                   what was copied with the image, or null: copied,
                            present, failed, and the first 100 that failed as
                            notCopied: subject, digest, artifactType, why
  served                    manifests and blobs per endpoint, if the source has
                            mirrors
  seconds                   elapsed time
copy --all-tags, --tags: an object for each tag, with the above and
  tag
  error, failure            why it was not copied, in place of the rest, or why
                            not all that refers to it was
login:
  registry, username
  kept                      the credential helper or file with the password
  verified                  whether the registry asked for credentials
logout:
  registry
  erased                    list of credential helpers and files
  remaining                 a place with other credentials, or null
verify:
  blobs, bytes              hashed
  damaged                   list of: digest, found
  missing                   list of: digest
gc:
  blobs, blobBytes          removed blobs that no name refers to
  partials, partialBytes    removed partials of interrupted transfers
  inUse                     blobs kept for running transfers
digest:
  reference                 as given
  digest, mediaType, size   the manifest or index it refers to";

pub(super) const MANIFESTS_AND_BLOBS: &str = "\
tag, manifest put, artifact push, attach:
  reference, digest, mediaType, size
  tags                      the tags that refer to it now
  unlisted                  as above, or null
manifest get:
  reference, digest, mediaType, size
  manifest                  the parsed manifest
manifest head:
  reference, digest, mediaType, size
delete, manifest delete, blob delete:
  reference
  deleted                   false if it was not there, with --ignore-missing
  digest                    null if only a tag was deleted
  unlisted                  as above, or null
blob head:
  reference, digest, size
blob get, with --output:
  reference, digest, size
  file                      as given";

pub(super) const ARTIFACTS_AND_CHANGES: &str = "\
attach:
  subject                   the digest of what it is attached to
artifact pull:
  reference, digest, mediaType, size, bytesMoved
  files                     list of: name, digest, mediaType, size
  untitled                  the parts without a name, which are not fetched
config:
  reference
  manifest                  the digest of the image
  digest, mediaType, size   of the configuration
  config                    the parsed configuration, null if it is no JSON
append, mutate:
  reference, digest, mediaType, size, tags, unlisted
  base                      the digest of the image it was made of
  index                     the digest of the index it is in, or null
  config                    the digest of its configuration
  layers                    those that are new: digest, size, diffId
index create, add, remove, filter:
  reference, digest, mediaType, size, tags, unlisted
  entries                   list of: digest, mediaType, size, platform
  replaced                  the digests of those replaced by added ones
  copied                    the digests of those copied into the repository
blob put:
  repository, digest, size
  how                       sent, mounted or present
replay:
  madeBy                    the windlass version that made the tape
  lines                     the transcript
demo:
  ok, digest, blobs, bytes
  steps                     list of: name, requests";

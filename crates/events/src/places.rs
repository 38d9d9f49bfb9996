//! `[places]`: where in the world an address is, roughly, from a database that the operator brings along.
//!
//! `anomalies` asks it, and the lists of devices, each time that they are shown: no place is stored. No address leaves
//! the house for it.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use maxminddb::Reader;
use portcullis_core::Timestamp;
use serde::Deserialize;

use crate::metrics::Metrics;

/// `[places]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// A database in the `MaxMind` DB format with places of cities or countries, such as `"GeoLite2-City.mmdb"`; relative
    /// paths start at this file. Default: none: `impossible-travel` finds nothing, and lists of devices name no places.
    /// Read at the start.
    pub database: Option<PathBuf>,
    /// Networks whose addresses say nothing of where people are, such as those of your VPN. Default `[]`. Written as
    /// `["198.51.100.0/24"]`.
    pub known: Vec<IpNet>,
}

/// Where an address is.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// In degrees.
    pub latitude: f64,
    pub longitude: f64,
    /// How far off that may be, in kilometres.
    pub radius: f64,
    /// Its country (ISO 3166-1, two letters), or `?`.
    pub country: String,
}

/// Where the database says nothing of how far off it is, it is a country's middle.
const ROUGHLY: f64 = 1000.0;
const EARTH_RADIUS_KM: f64 = 6371.0;

impl Place {
    /// Along the surface, in kilometres, as near as the two can be to each other: what the database is not sure
    /// of is taken off.
    pub fn distance(&self, other: &Place) -> f64 {
        let (one, two) = (self.latitude.to_radians(), other.latitude.to_radians());
        let (up, across) = (two - one, (other.longitude - self.longitude).to_radians());
        // The haversine formula.
        let half = (up / 2.0).sin().powi(2) + one.cos() * two.cos() * (across / 2.0).sin().powi(2);
        let whole = 2.0 * EARTH_RADIUS_KM * half.clamp(0.0, 1.0).sqrt().asin();
        (whole - self.radius - other.radius).max(0.0)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}: {1}")]
    Unreadable(PathBuf, maxminddb::MaxMindDbError),
    #[error("{0} is a database of `{1}`, which has no places: one of cities is wanted")]
    OtherKind(PathBuf, String),
}

/// What was looked up.
enum Looked {
    /// The policy says that it says nothing.
    SetAside,
    /// The database does not know it.
    Unknown,
    Found(Found),
}

/// What the database says of an address: any of it may be missing.
#[derive(Default)]
struct Found {
    place: Option<Place>,
    name: Option<String>,
}

type Look = dyn Fn(IpAddr) -> Looked + Send + Sync;

/// What is known of places. Cheap to clone; nothing is known by default.
#[derive(Clone, Default)]
pub struct Places {
    look: Option<Arc<Look>>,
    metrics: Option<Arc<Metrics>>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Places").field(&self.is_known()).finish()
    }
}

impl PartialEq for Places {
    fn eq(&self, other: &Self) -> bool {
        match (&self.look, &other.look) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Places {}

#[derive(Deserialize)]
struct Record<'d> {
    #[serde(borrow)]
    city: Option<City<'d>>,
    #[serde(borrow)]
    country: Option<Country<'d>>,
    location: Option<Location>,
}

#[derive(Deserialize)]
struct City<'d> {
    #[serde(borrow)]
    names: Option<Names<'d>>,
}

#[derive(Deserialize)]
struct Country<'d> {
    iso_code: Option<&'d str>,
    #[serde(borrow)]
    names: Option<Names<'d>>,
}

/// In the languages of the database: the pages are English.
#[derive(Deserialize)]
struct Names<'d> {
    en: Option<&'d str>,
}

#[derive(Deserialize)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
    accuracy_radius: Option<u32>,
}

impl Places {
    fn looking(look: impl Fn(IpAddr) -> Looked + Send + Sync + 'static) -> Self {
        Places {
            look: Some(Arc::new(look)),
            metrics: None,
        }
    }

    /// By a function: for tests.
    pub fn by(look: impl Fn(IpAddr) -> Option<Place> + Send + Sync + 'static) -> Self {
        Places::looking(move |address| match look(address) {
            None => Looked::Unknown,
            place => Looked::Found(Found { place, name: None }),
        })
    }

    /// Those of the configured database, which is read when the first address is looked up: most commands never do.
    /// Whether it can be read, [`made_at`] has said at the start.
    pub fn named(config: &Config, folder: &Path) -> Self {
        let Some(file) = &config.database else {
            return Places::default();
        };
        let (file, known) = (folder.join(file), config.known.clone());
        let reader = OnceLock::new();
        Places::looking(move |address| {
            let address = address.to_canonical();
            if known.iter().any(|network| network.contains(&address)) {
                return Looked::SetAside;
            }
            let reader = reader.get_or_init(|| {
                let read = read(&file);
                read.inspect_err(|error| tracing::error!(%error, "the database of places cannot be read: nobody's travel is looked at"))
                    .ok()
            });
            let found = reader.as_ref().and_then(|reader| found(reader, address));
            found.map_or(Looked::Unknown, Looked::Found)
        })
    }

    /// The same, with what [`Places::of`] looks up counted.
    #[must_use]
    pub(crate) fn counted(self, metrics: &Arc<Metrics>) -> Self {
        let metrics = self.look.is_some().then(|| Arc::clone(metrics));
        Places { metrics, ..self }
    }

    pub const fn is_known(&self) -> bool {
        self.look.is_some()
    }

    /// Nothing where the database does not know it, or the policy says that it says nothing.
    pub fn of(&self, address: IpAddr) -> Option<Place> {
        let looked = self.look.as_ref()?(address);
        let place = match looked {
            Looked::SetAside => return None,
            Looked::Unknown => None,
            Looked::Found(found) => found.place,
        };
        if let Some(metrics) = &self.metrics {
            metrics.place(place.is_some());
        }
        place
    }

    /// What people call it, such as `Berlin, Germany`. May read the database: nothing for a thread that must not wait.
    pub fn name(&self, address: IpAddr) -> Option<String> {
        match self.look.as_ref()?(address) {
            Looked::SetAside | Looked::Unknown => None,
            Looked::Found(found) => found.name,
        }
    }
}

fn read(file: &Path) -> Result<Reader<Vec<u8>>, Error> {
    let reader = Reader::open_readfile(file);
    let reader = reader.map_err(|error| Error::Unreadable(file.to_owned(), error))?;
    let kind = &reader.metadata().database_type;
    // Those of networks and of providers have no places.
    if !["City", "Country", "Enterprise", "Location"]
        .iter()
        .any(|word| kind.contains(word))
    {
        return Err(Error::OtherKind(file.to_owned(), kind.clone()));
    }
    Ok(reader)
}

/// When the configured database was made; nothing where none is configured.
///
/// # Errors
/// It cannot be read, or has no places.
pub fn made_at(config: &Config, folder: &Path) -> Result<Option<Timestamp>, Error> {
    let Some(file) = &config.database else {
        return Ok(None);
    };
    let made = read(&folder.join(file))?.metadata().build_epoch;
    let made = i64::try_from(made).unwrap_or(i64::MAX);
    Ok(Some(Timestamp::from_seconds(made)))
}

/// Longest name of a city or of a country that is shown, in characters.
const LONGEST: usize = 60;

fn found(reader: &Reader<Vec<u8>>, address: IpAddr) -> Option<Found> {
    let found = reader.lookup(address).ok()?;
    let record = found.decode::<Record<'_>>().ok()??;
    let name = name(&record);
    let location = record.location;
    let place = location.and_then(|location| {
        let country = record.country.as_ref().and_then(|country| country.iso_code);
        Some(Place {
            latitude: location.latitude?,
            longitude: location.longitude?,
            radius: location.accuracy_radius.map_or(ROUGHLY, f64::from),
            country: country.unwrap_or("?").chars().take(2).collect(),
        })
    });
    Some(Found { place, name })
}

/// City and country, as far as they are known; the country's two letters where it has no name.
fn name(record: &Record<'_>) -> Option<String> {
    let city = record.city.as_ref();
    let city = city.and_then(|city| city.names.as_ref()?.en);
    let country = record.country.as_ref().and_then(|country| {
        let name = country.names.as_ref().and_then(|names| names.en);
        name.or(country.iso_code)
    });
    let words: Vec<String> = [city, country]
        .into_iter()
        .flatten()
        .map(|word| {
            let shown = word.chars().filter(|letter| !letter.is_control());
            shown.take(LONGEST).collect()
        })
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64, radius: f64) -> Place {
        Place {
            latitude,
            longitude,
            radius,
            country: "?".to_owned(),
        }
    }

    #[test]
    fn a_place_is_called_by_what_the_database_knows_of_it() {
        let named = |city, country, iso_code| {
            name(&Record {
                city: Some(City {
                    names: Some(Names { en: city }),
                }),
                country: Some(Country {
                    iso_code,
                    names: Some(Names { en: country }),
                }),
                location: None,
            })
        };
        let called = |name: &str| Some(name.to_owned());
        let (berlin, germany) = (Some("Berlin"), Some("Germany"));
        assert_eq!(
            named(berlin, germany, Some("DE")),
            called("Berlin, Germany")
        );
        assert_eq!(named(None, germany, Some("DE")), called("Germany"));
        assert_eq!(named(berlin, None, Some("DE")), called("Berlin, DE"));
        assert_eq!(named(berlin, None, None), called("Berlin"));
        assert_eq!(named(None, None, None), None);
        let odd = named(Some("Ber\u{202e}\nlin"), None, None).unwrap();
        assert!(!odd.contains('\n'), "{odd:?}");
    }

    #[test]
    fn distances_are_those_of_an_atlas_less_what_nobody_is_sure_of() {
        let berlin = at(52.52, 13.405, 0.0);
        let tokyo = at(35.676, 139.65, 0.0);
        let found = berlin.distance(&tokyo);
        assert!((8900.0..8940.0).contains(&found), "{found}");
        let unsure = berlin.distance(&at(35.676, 139.65, 1000.0));
        assert!((7900.0..7940.0).contains(&unsure), "{unsure}");
        assert!(berlin.distance(&at(52.4, 13.0, 50.0)) < 1.0);
        // Across the date line it is near.
        let near = at(-17.0, 179.9, 0.0).distance(&at(-17.0, -179.9, 0.0));
        assert!(near < 30.0, "{near}");
        let far = at(0.0, 0.0, 0.0).distance(&at(0.0, 180.0, 0.0));
        assert!((20_000.0..20_030.0).contains(&far), "{far}");
    }
}

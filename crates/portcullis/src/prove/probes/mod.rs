//! From an id to its probe. The match has no `_`: a new id does not compile without one.

mod a_identity;
mod b_sessions;
mod c_tokens;
mod d_api_keys;
mod e_visitors;
mod f_tenancy;
mod g_limits;
mod h_browser;
mod routes;

use super::Scene;
use super::probe::{Probed, Short};
use super::requirement::Id;

/// Probes one requirement.
pub(crate) async fn probe(id: Id, scene: &Scene) -> Probed {
    match id {
        Id::I1 => a_identity::sign_in(scene).await,
        Id::I2 => a_identity::password_at_rest(scene).await,
        Id::I3 => a_identity::password_change(scene).await,
        Id::I4 => a_identity::sign_in_limits(scene).await,
        Id::I5 => a_identity::second_factor(scene).await,
        Id::I6 => a_identity::other_provider(scene).await,
        Id::I7 => a_identity::provisioned(scene).await,
        Id::I8 => a_identity::administrators(scene).await,
        Id::I9 => a_identity::recovery_tokens(scene).await,
        Id::I10 => a_identity::everything_else(scene).await,
        Id::S1 => b_sessions::cookie(scene).await,
        Id::S2 => b_sessions::ends(scene).await,
        Id::S3 => b_sessions::other_client(scene).await,
        Id::S4 => b_sessions::at_rest(scene).await,
        Id::S5 => b_sessions::revoked(scene).await,
        Id::S6 => b_sessions::not_for_script(scene).await,
        Id::S7 => b_sessions::secret_length(scene).await,
        Id::J1 => c_tokens::lifetimes(scene).await,
        Id::J2 => c_tokens::rotation(scene).await,
        Id::J3 => c_tokens::foreign(scene).await,
        Id::J4 => c_tokens::short_secret(scene).await,
        Id::J5 => c_tokens::default_secret(scene).await,
        Id::J6 => c_tokens::signing_keys(scene).await,
        Id::J7 => c_tokens::tenant_of_identity(scene).await,
        Id::K1 => d_api_keys::at_rest(scene).await,
        Id::K2 => d_api_keys::revoked(scene).await,
        Id::K3 => d_api_keys::third_party(scene).await,
        Id::K4 => d_api_keys::column(scene).await,
        Id::W1 => e_visitors::expires(scene).await,
        Id::W2 => e_visitors::metadata(scene).await,
        Id::W3 => e_visitors::origins(scene).await,
        Id::W4 => e_visitors::private_parts(scene).await,
        Id::T1 => f_tenancy::per_endpoint(scene).await,
        Id::T2 => f_tenancy::matrix(scene).await,
        Id::T3 => f_tenancy::dynamic(scene).await,
        Id::T4 => f_tenancy::tenants(scene).await,
        Id::T5 => f_tenancy::owners(scene).await,
        Id::T6 => f_tenancy::zero_trust(scene).await,
        Id::T7 => f_tenancy::least_privilege(scene).await,
        Id::L1 => g_limits::everywhere(scene).await,
        Id::L2 => g_limits::sign_in(scene).await,
        Id::L3 => g_limits::figures(scene).await,
        Id::L4 => g_limits::every_route(scene).await,
        Id::L5 => g_limits::headers(scene).await,
        Id::L6 => g_limits::shared(scene).await,
        Id::L7 => g_limits::dear(scene).await,
        Id::L8 => g_limits::per_user(scene).await,
        Id::L9 => g_limits::counted(scene).await,
        Id::L10 => g_limits::screened(scene).await,
        Id::H1 => h_browser::origins(scene).await,
        Id::H2 => h_browser::wildcard(scene).await,
        Id::H3 => h_browser::list(scene).await,
        Id::H4 => h_browser::preflights(scene).await,
        Id::H5 => h_browser::forgery(scene).await,
        Id::H6 => h_browser::csp(scene).await,
        Id::H7 => h_browser::csp_as_written(scene).await,
        Id::H8 => h_browser::headers(scene).await,
        Id::H9 => h_browser::hsts(scene).await,
        Id::H10 => h_browser::hosts(scene).await,
        Id::H11 => h_browser::input(scene).await,
        Id::H12 => h_browser::statements(scene).await,
        Id::H13 => h_browser::errors(scene).await,
        Id::E1
        | Id::E2
        | Id::E3
        | Id::E4
        | Id::E5
        | Id::E6
        | Id::E7
        | Id::E8
        | Id::X1
        | Id::X2
        | Id::X3
        | Id::X4
        | Id::X5
        | Id::X6
        | Id::X7
        | Id::X8
        | Id::B1
        | Id::B2
        | Id::B3
        | Id::U1
        | Id::U2
        | Id::U3
        | Id::A1
        | Id::A2
        | Id::A3
        | Id::A4
        | Id::A5
        | Id::A6
        | Id::A7
        | Id::A8
        | Id::M1
        | Id::M2
        | Id::M3
        | Id::M4
        | Id::P1
        | Id::P2
        | Id::P3
        | Id::P4
        | Id::G1
        | Id::G2
        | Id::G3
        | Id::G4
        | Id::G5
        | Id::G6
        | Id::G7
        | Id::N1
        | Id::N2
        | Id::N3
        | Id::N4
        | Id::D1
        | Id::D2
        | Id::D3
        | Id::D4 => Err(Short::not_proven("there is no probe for it yet")),
    }
}

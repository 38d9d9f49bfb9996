//! From an id to its probe. The match has no `_`: a new id does not compile without one.

mod a_identity;
mod a_issuers;
mod a_provider;
mod b_sessions;
mod c_signing_keys;
mod c_tokens;
mod d_api_keys;
mod e_visitors;
mod f_tenancy;
mod f_zero_trust;
mod g_limits;
mod g_nodes;
mod h_browser;
mod h_headers;
mod h_input;
mod i_at_rest;
mod i_data_keys;
mod i_encryption;
mod j_secrets;
mod k_kept;
mod k_webhooks;
mod l_uploads;
mod m_audit;
mod m_verifiable;
mod n_monitoring;
mod o_consents;
mod o_data_map;
mod o_mapping;
mod o_privacy;
mod o_subjects;
mod p_scans;
mod p_startup;
mod q_incident;
mod r_deployment;
mod routes;
mod senders;
mod stored;

use super::Scene;
use super::probe::Probed;
use super::requirement::Id;

/// Probes one requirement.
#[expect(clippy::too_many_lines, reason = "a line for each requirement")]
pub(crate) async fn probe(id: Id, scene: &Scene) -> Probed {
    match id {
        Id::I1 => a_identity::sign_in(scene).await,
        Id::I2 => a_identity::password_at_rest(scene).await,
        Id::I3 => a_identity::password_change(scene).await,
        Id::I4 => a_identity::sign_in_limits(scene).await,
        Id::I5 => a_identity::second_factor(scene).await,
        Id::I6 => a_provider::other_provider(scene).await,
        Id::I7 => a_issuers::provisioned(scene).await,
        Id::I8 => a_issuers::administrators(scene).await,
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
        Id::J6 => c_signing_keys::replaced(scene).await,
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
        Id::T6 => f_zero_trust::zero_trust(scene).await,
        Id::T7 => f_zero_trust::least_privilege(scene).await,
        Id::L1 => g_limits::everywhere(scene).await,
        Id::L2 => g_limits::sign_in(scene).await,
        Id::L3 => g_limits::figures(scene).await,
        Id::L4 => g_limits::every_route(scene).await,
        Id::L5 => g_limits::headers(scene).await,
        Id::L6 => g_nodes::shared(scene).await,
        Id::L7 => g_limits::dear(scene).await,
        Id::L8 => g_limits::per_user(scene).await,
        Id::L9 => g_limits::counted(scene).await,
        Id::L10 => g_limits::screened(scene).await,
        Id::H1 => h_browser::origins(scene).await,
        Id::H2 => h_browser::wildcard(scene).await,
        Id::H3 => h_browser::list(scene).await,
        Id::H4 => h_browser::preflights(scene).await,
        Id::H5 => h_browser::forgery(scene).await,
        Id::H6 => h_headers::csp(scene).await,
        Id::H7 => h_headers::csp_as_written(scene).await,
        Id::H8 => h_headers::headers(scene).await,
        Id::H9 => h_headers::hsts(scene).await,
        Id::H10 => h_input::hosts(scene).await,
        Id::H11 => h_input::input(scene).await,
        Id::H12 => h_input::statements(scene).await,
        Id::H13 => h_input::errors(scene).await,
        Id::E1 => i_encryption::tls(scene).await,
        Id::E2 => i_encryption::database(scene).await,
        Id::E3 => i_encryption::fields(scene).await,
        Id::E4 => i_encryption::integrations(scene).await,
        Id::E5 => Box::pin(i_data_keys::data_keys(scene)).await,
        Id::E6 => i_encryption::earlier_key(scene).await,
        Id::E7 => i_encryption::backups(scene).await,
        Id::E8 => i_at_rest::bytes(scene).await,
        Id::X1 => j_secrets::in_git(scene).await,
        Id::X2 => j_secrets::by_reference(scene).await,
        Id::X3 => j_secrets::never_answered(scene).await,
        Id::X4 => j_secrets::overdue(scene).await,
        Id::X5 => j_secrets::procedure(scene).await,
        Id::X6 => j_secrets::by_administrators(scene).await,
        Id::X7 => j_secrets::environments(scene).await,
        Id::X8 => j_secrets::variables(scene).await,
        Id::B1 => k_webhooks::signatures(scene).await,
        Id::B2 => k_webhooks::tolerance(scene).await,
        Id::B3 => k_kept::recorded(scene).await,
        Id::U1 => l_uploads::size_and_kind(scene).await,
        Id::U2 => l_uploads::scanned_and_sealed(scene).await,
        Id::U3 => l_uploads::often(scene).await,
        Id::A1 => m_audit::trail(scene).await,
        Id::A2 => m_audit::attempts(scene).await,
        Id::A3 => m_audit::access(scene).await,
        Id::A4 => m_audit::no_secrets(scene).await,
        Id::A5 => m_audit::structured(scene).await,
        Id::A6 => m_audit::error_reports(scene).await,
        Id::A7 => m_verifiable::verifiable(scene).await,
        Id::A8 => m_audit::level(scene).await,
        Id::M1 => n_monitoring::counters(scene).await,
        Id::M2 => n_monitoring::alerts(scene).await,
        Id::M3 => n_monitoring::usage(scene).await,
        Id::M4 => n_monitoring::format(scene).await,
        Id::P1 => o_data_map::map(scene).await,
        Id::P2 => o_privacy::rights(scene).await,
        Id::P3 => o_mapping::mapped(scene).await,
        Id::P4 => o_privacy::minimal(scene).await,
        Id::G1 => p_startup::refuses(scene).await,
        Id::G2 => p_startup::shipped(scene).await,
        Id::G3 => p_scans::builds(scene).await,
        Id::G4 => p_scans::dependencies(scene).await,
        Id::G5 => p_startup::checklist(scene),
        Id::G6 => p_scans::regularly(scene).await,
        Id::G7 => p_startup::urgent(scene).await,
        Id::N1 => q_incident::clock(scene).await,
        Id::N2 => q_incident::procedure(scene).await,
        Id::N3 => q_incident::by_command(scene).await,
        Id::N4 => q_incident::report_page(scene).await,
        Id::D1 => r_deployment::container(scene).await,
        Id::D2 => r_deployment::network(scene),
        Id::D3 => r_deployment::hosting(scene).await,
        Id::D4 => r_deployment::pool(scene).await,
    }
}

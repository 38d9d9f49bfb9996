//! The library that knows what authenticators answer, where it is built in (the feature `passkeys`).
//!
//! It is a sixth of the whole build, so a build without it has to be possible. Such a build has the
//! types, and nobody can have a value of one: there is no [`Relying`](super::Relying) and every
//! passkey is refused.

#[cfg(not(feature = "passkeys"))]
pub(super) use absent::*;
#[cfg(feature = "passkeys")]
pub(super) use webauthn_rs::prelude::{
    CredentialID, DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, WebauthnError,
};
#[cfg(feature = "passkeys")]
pub(super) use webauthn_rs::{Webauthn, WebauthnBuilder};

/// Whether this build knows passkeys.
pub(super) const IS_BUILT_IN: bool = cfg!(feature = "passkeys");

#[cfg(not(feature = "passkeys"))]
mod absent {
    use std::fmt;
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use url::Url;
    use uuid::Uuid;

    #[derive(Debug, Clone)]
    enum Never {}

    pub(in super::super) type CredentialID = Vec<u8>;

    macro_rules! nobody_has {
        ($($name:ident),*) => {$(
            #[derive(Debug, Clone)]
            pub(crate) struct $name(Never);

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                    match self.0 {}
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                    Err(D::Error::custom("this build knows no passkeys"))
                }
            }
        )*};
    }

    nobody_has!(
        DiscoverableAuthentication,
        Passkey,
        PasskeyRegistration,
        PublicKeyCredential,
        RegisterPublicKeyCredential,
        Options,
        Proved
    );

    #[derive(Debug)]
    pub(in super::super) enum WebauthnError {
        #[expect(dead_code, reason = "only the library says so")]
        CredentialPossibleCompromise,
        NotBuiltIn,
    }

    impl fmt::Display for WebauthnError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("this build knows no passkeys")
        }
    }

    impl Passkey {
        pub(in super::super) const fn cred_id(&self) -> &CredentialID {
            match self.0 {}
        }

        pub(in super::super) const fn update_credential(&mut self, _: &Proved) -> Option<bool> {
            match self.0 {}
        }
    }

    impl PublicKeyCredential {
        pub(in super::super) const fn get_credential_id(&self) -> &[u8] {
            match self.0 {}
        }

        pub(in super::super) const fn get_user_unique_id(&self) -> Option<&[u8]> {
            match self.0 {}
        }
    }

    impl Proved {
        pub(in super::super) const fn user_verified(&self) -> bool {
            match self.0 {}
        }
    }

    #[derive(Debug)]
    pub(in super::super) struct Webauthn(Never);

    type Asked<S> = Result<(Options, S), WebauthnError>;

    impl Webauthn {
        pub(in super::super) fn start_passkey_registration(
            &self,
            _: Uuid,
            _: &str,
            _: &str,
            _: Option<Vec<CredentialID>>,
        ) -> Asked<PasskeyRegistration> {
            match self.0 {}
        }

        pub(in super::super) const fn finish_passkey_registration(
            &self,
            _: &RegisterPublicKeyCredential,
            _: &PasskeyRegistration,
        ) -> Result<Passkey, WebauthnError> {
            match self.0 {}
        }

        pub(in super::super) const fn start_discoverable_authentication(
            &self,
        ) -> Asked<DiscoverableAuthentication> {
            match self.0 {}
        }

        pub(in super::super) fn finish_discoverable_authentication_v2(
            &self,
            _: &PublicKeyCredential,
            _: DiscoverableAuthentication,
            _: &Passkey,
        ) -> Result<Proved, WebauthnError> {
            match self.0 {}
        }
    }

    #[derive(Debug)]
    pub(in super::super) struct WebauthnBuilder(Never);

    impl WebauthnBuilder {
        pub(in super::super) const fn new(_: &str, _: &Url) -> Result<Self, WebauthnError> {
            Err(WebauthnError::NotBuiltIn)
        }

        #[must_use]
        pub(in super::super) const fn rp_name(self, _: &str) -> Self {
            match self.0 {}
        }

        #[must_use]
        pub(in super::super) const fn append_allowed_origin(self, _: &Url) -> Self {
            match self.0 {}
        }

        #[must_use]
        pub(in super::super) const fn timeout(self, _: Duration) -> Self {
            match self.0 {}
        }

        pub(in super::super) const fn build(self) -> Result<Webauthn, WebauthnError> {
            match self.0 {}
        }
    }
}

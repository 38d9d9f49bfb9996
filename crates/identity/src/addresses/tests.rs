use std::sync::Arc;

use portcullis_core::time::ManualClock;
use portcullis_core::{Clock, Timestamp, UserId};
use portcullis_store::Db;
use tempfile::TempDir;

use super::*;
use crate::accounts::{Accounts, By, Registering};
use crate::testing::{PASSWORD, fields, keys, node_with, secret};
use crate::{Client, accounts, users};

/// One database, and what is opened on it one after the other.
struct Place {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        Place {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000))),
        }
    }

    async fn node(&self, form: Form) -> (Db, Accounts) {
        let (db, accounts, _) = node_with(&self.folder, &self.clock, form).await;
        (db, accounts)
    }
}

async fn open(accounts: &Accounts, email: &str) -> Result<UserId, accounts::Error> {
    let password = secret(PASSWORD);
    let new = Registering {
        email,
        password: &password,
        display_name: None,
    };
    let made = accounts.create(&new, &[], None, &By::operator()).await?;
    Ok(made.id)
}

async fn login(accounts: &Accounts, email: &str) -> Result<String, accounts::Error> {
    let password = secret(PASSWORD);
    let client = Client::default();
    let signed_in = accounts.login(email, &password, &client).await?;
    Ok(signed_in.account.email)
}

async fn row(db: &Db, user: UserId) -> (String, String) {
    let sql = "SELECT email_canonical, email FROM users WHERE id = $1";
    let row = db.fetch_optional(sql, &[user.into()]).await.unwrap();
    let row = row.unwrap();
    (
        row.text("email_canonical").unwrap(),
        row.text("email").unwrap(),
    )
}

async fn write(db: &Db, user: UserId, (name, kept): (&str, &str)) {
    let sql = "UPDATE users SET email_canonical = $2, email = $3 WHERE id = $1";
    let mut tx = db.begin().await.unwrap();
    let args = [user.into(), name.into(), kept.into()];
    tx.execute(sql, &args).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_address_is_sealed_with_its_name_and_shown_as_it_was_typed() {
    let place = Place::new();
    let (db, accounts) = place.node(Form::Sealed).await;
    let ada = open(&accounts, "Ada@Example.org").await.unwrap();
    let (name, kept) = row(&db, ada).await;
    assert!(is_index(&name) && is_sealed(&kept), "{name} {kept}");
    assert_eq!(
        login(&accounts, "ADA@example.org").await.unwrap(),
        "Ada@Example.org"
    );
    let again = open(&accounts, "ada@EXAMPLE.org").await.unwrap_err();
    assert!(matches!(again, accounts::Error::EmailTaken));
}

#[tokio::test]
async fn what_was_moved_to_another_row_signs_nobody_in() {
    let place = Place::new();
    let (db, accounts) = place.node(Form::Sealed).await;
    let ada = open(&accounts, "ada@example.org").await.unwrap();
    let bob = open(&accounts, "bob@example.org").await.unwrap();
    let (ada_row, bob_row) = (row(&db, ada).await, row(&db, bob).await);
    for (ada_now, bob_now) in [
        // Both, the sealed addresses alone, the names alone.
        (&bob_row, &ada_row),
        (
            &(ada_row.0.clone(), bob_row.1.clone()),
            &(bob_row.0.clone(), ada_row.1.clone()),
        ),
        (
            &(bob_row.0.clone(), ada_row.1.clone()),
            &(ada_row.0.clone(), bob_row.1.clone()),
        ),
        // In the clear beside an index.
        (&(ada_row.0.clone(), "ada@example.org".to_owned()), &bob_row),
    ] {
        // Attempts are counted.
        place.clock.advance(portcullis_core::Span::from_hours(1));
        write(&db, bob, ("index:elsewhere", "")).await;
        write(&db, ada, (&ada_now.0, &ada_now.1)).await;
        write(&db, bob, (&bob_now.0, &bob_now.1)).await;
        let refused = login(&accounts, "ada@example.org").await.unwrap_err();
        assert!(
            matches!(refused, accounts::Error::Address(Error::Damaged { .. })),
            "{refused:?}"
        );
        // A list shows the others all the same.
        let list = accounts.list(None, 10).await.unwrap().unwrap();
        assert!(list.iter().any(|account| account.email == DAMAGED));
        assert_eq!(list.len(), 2);
    }
}

#[tokio::test]
async fn a_database_is_moved_both_ways_and_nobody_is_without_their_account_meanwhile() {
    let place = Place::new();
    let (db, clear) = place.node(Form::Clear).await;
    let ada = open(&clear, "Ada@example.org").await.unwrap();
    let bob = open(&clear, "bob@example.org").await.unwrap();
    assert_eq!(row(&db, ada).await.0, "ada@example.org");
    assert_eq!(
        clear.addresses().settle().await.unwrap(),
        Settled::default()
    );
    // Nothing is asked of the vault while nothing was ever sealed.
    assert!(!clear.addresses().look().await.unwrap());

    let (_, sealed) = place.node(Form::Sealed).await;
    login(&sealed, "ada@example.org").await.unwrap();
    let taken = open(&sealed, "bob@example.org").await.unwrap_err();
    assert!(matches!(taken, accounts::Error::EmailTaken), "{taken:?}");
    assert_eq!(sealed.addresses().settle().await.unwrap().moved, 2);
    assert_eq!(sealed.addresses().settle().await.unwrap().moved, 0);
    for user in [ada, bob] {
        let (name, kept) = row(&db, user).await;
        assert!(is_index(&name) && is_sealed(&kept), "{name} {kept}");
    }
    assert_eq!(
        login(&sealed, "ada@example.org").await.unwrap(),
        "Ada@example.org"
    );

    // Another node with the old configuration finds out, and so does the next start.
    clear.addresses().look().await.unwrap();
    login(&clear, "ada@example.org").await.unwrap();
    let taken = open(&clear, "bob@example.org").await.unwrap_err();
    assert!(matches!(taken, accounts::Error::EmailTaken), "{taken:?}");
    assert_eq!(clear.addresses().settle().await.unwrap().moved, 2);
    assert_eq!(row(&db, ada).await.1, "Ada@example.org");
    assert_eq!(
        clear.addresses().settle().await.unwrap(),
        Settled::default()
    );
    login(&clear, "ada@example.org").await.unwrap();
    assert_eq!(
        clear
            .addresses()
            .names("ada@example.org")
            .await
            .unwrap()
            .other(),
        None
    );
}

#[tokio::test]
async fn a_rotated_key_seals_every_address_anew_and_names_stay() {
    let place = Place::new();
    let (db, accounts) = place.node(Form::Sealed).await;
    let ada = open(&accounts, "ada@example.org").await.unwrap();
    let before = row(&db, ada).await;
    let clock: Arc<dyn Clock> = Arc::clone(&place.clock) as Arc<dyn Clock>;
    fields(&db, &clock, &keys()).rotate(None).await.unwrap();
    place.clock.advance(portcullis_core::Span::from_minutes(2));
    assert_eq!(accounts.addresses().settle().await.unwrap().moved, 1);
    let after = row(&db, ada).await;
    assert_eq!(before.0, after.0);
    assert_ne!(before.1.get(..26), after.1.get(..26));
    assert_eq!(accounts.addresses().settle().await.unwrap().moved, 0);
    login(&accounts, "ada@example.org").await.unwrap();
}

#[tokio::test]
async fn two_rows_of_one_address_are_left_to_the_operator() {
    let place = Place::new();
    let (db, sealed) = place.node(Form::Sealed).await;
    let ada = open(&sealed, "ada@example.org").await.unwrap();
    let other = open(&sealed, "bob@example.org").await.unwrap();
    // Another node with the old configuration, at the very same time.
    write(&db, other, ("ada@example.org", "ada@example.org")).await;
    let settled = sealed.addresses().settle().await.unwrap();
    assert_eq!((settled.moved, settled.failed), (0, 1));
    assert!(is_index(&row(&db, ada).await.0));
    let all = users::list(&db, sealed.addresses(), None, 10).await;
    assert_eq!(all.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn an_address_in_the_clear_is_never_taken_for_a_sealed_one() {
    let place = Place::new();
    let (db, clear) = place.node(Form::Clear).await;
    let odd = open(&clear, "pcv1.AAAA@example.org").await.unwrap();
    let index = open(&clear, "index-AAAA@example.org").await.unwrap();
    for (user, email) in [
        (odd, "pcv1.AAAA@example.org"),
        (index, "index-AAAA@example.org"),
    ] {
        assert_eq!(row(&db, user).await.1, email);
        assert_eq!(login(&clear, email).await.unwrap(), email);
    }
    let (_, sealed) = place.node(Form::Sealed).await;
    assert_eq!(sealed.addresses().settle().await.unwrap().moved, 2);
    login(&sealed, "pcv1.AAAA@example.org").await.unwrap();
}

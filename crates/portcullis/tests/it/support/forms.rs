//! Pages and their forms, as a browser without script uses them.

use super::{Answer, Browser, RequestBuilder};

/// A page that a browser has opened.
pub(crate) struct Page {
    pub(crate) answer: Answer,
    pub(crate) text: String,
}

impl Browser {
    /// Opens a page.
    pub(crate) async fn open(&self, target: &str) -> Page {
        let answer = self.get(target).header("accept", "text/html");
        Page::of(answer.send().await)
    }

    /// Fills in the form of `page` that goes to a path with this end, and sends it.
    pub(crate) async fn fill(&self, page: &Page, to: &str, fields: &[(&str, &str)]) -> Page {
        let (action, hidden) = page.form(to);
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(hidden).extend_pairs(fields);
        Page::of(self.submit(&action, &body.finish()).await)
    }

    /// Sends these very fields to a path.
    pub(crate) async fn submit(&self, action: &str, body: &str) -> Answer {
        self.form(action, body).send().await
    }

    /// The same, before it is sent.
    pub(crate) fn form(&self, action: &str, body: &str) -> RequestBuilder {
        self.post(action)
            .without("x-csrf-token")
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
    }

    /// Goes where the answer leads.
    pub(crate) async fn follow(&self, page: &Page) -> Page {
        assert_eq!(page.answer.status, 303, "{}", page.text);
        self.open(page.answer.header("location").unwrap()).await
    }
}

impl Page {
    fn of(answer: Answer) -> Self {
        let text = answer.text();
        Page { answer, text }
    }

    /// Where the form goes, and its hidden fields.
    pub(crate) fn form(&self, to: &str) -> (String, Vec<(String, String)>) {
        let mut forms = self.text.split("<form").skip(1);
        let form = forms.find(|form| attribute(form, "action").is_some_and(|it| it.ends_with(to)));
        let form = form.unwrap_or_else(|| panic!("no form to {to}: {}", self.text));
        let form = form.split("</form>").next().unwrap();
        let inputs = form.split("<input").skip(1);
        let hidden = inputs
            .filter(|input| attribute(input, "type").as_deref() == Some("hidden"))
            .map(|input| {
                let [name, value] = ["name", "value"].map(|name| attribute(input, name).unwrap());
                (name, value)
            });
        (attribute(form, "action").unwrap(), hidden.collect())
    }

    /// The token of the form.
    pub(crate) fn token(&self, to: &str) -> String {
        let (_, hidden) = self.form(to);
        let token = hidden.into_iter().find(|(name, _)| name == "csrf");
        token.expect("a form has a token").1
    }

    /// What the page shows once.
    pub(crate) fn secret(&self) -> String {
        let (_, rest) = self.text.split_once("class=\"shown\">").unwrap();
        rest.split('<').next().unwrap().to_owned()
    }

    /// The ids in the addresses below `path` that the page links to.
    pub(crate) fn ids_below(&self, path: &str) -> Vec<String> {
        let link = format!("href=\"{path}/");
        let parts = self.text.split(&link).skip(1);
        let ids = parts.map(|part| part.split(['"', '/', '?']).next().unwrap().to_owned());
        ids.filter(|id| id.parse::<uuid::Uuid>().is_ok()).collect()
    }

    /// Where the list goes on, if it does.
    pub(crate) fn next(&self) -> Option<String> {
        let mut links = self.text.split("<a ");
        let next = links.find(|link| {
            let tag = link.split('>').next().unwrap_or_default();
            tag.contains("rel=\"next\"")
        })?;
        attribute(&format!(" {next}"), "href")
    }
}

/// An attribute of the tag that `text` begins in.
fn attribute(text: &str, name: &str) -> Option<String> {
    let tag = text.split('>').next()?;
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let value = rest.split('"').next()?;
    let plain = value.replace("&lt;", "<").replace("&gt;", ">");
    Some(plain.replace("&quot;", "\"").replace("&amp;", "&"))
}

//! The one engine: an automaton finds what may be the beginning of something, a recogniser that was
//! written for it decides.
//!
//! The automaton reads each byte once, whatever number of names and keys there are. What it finds is
//! rare, so that recognisers may be thorough. Numbers of cards and opaque text have no mark to find:
//! they are sought in what is left between.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::providers::PROVIDERS;
use super::view::{Cover, End, Found, View};
use super::{Kind, MASK, Rules, fields, names, pem, runs, shapes};

/// What a literal stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Part of a field's name.
    Part,
    /// The whole of a field's name, of so many bytes, and what follows it.
    Whole(usize),
    InQuery,
    /// Index into [`PROVIDERS`].
    Key(usize),
    /// Index into the rules' prefixes.
    Prefix(usize),
    Jwt,
    Scheme,
    PrivateKey,
    UserInformation,
    At,
    Home,
    WindowsHome,
    Query,
}

/// A compiled set of rules. Cheap to share.
#[derive(Debug)]
pub struct Engine {
    /// Without it nothing could be told from a secret, so that everything would be one.
    automaton: Option<AhoCorasick>,
    /// By the number of the literal: what it may stand for.
    marks: Vec<Vec<Mark>>,
    /// By the number of the literal: longer ones that hold it, and where in them it stands. The
    /// automaton tells the one that ends first.
    around: Vec<Vec<(usize, usize)>>,
    literals: Vec<String>,
    pub(super) rules: Rules,
    pub(super) extra: Vec<String>,
}

/// What was masked, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn add(&mut self, kind: Kind) {
        if let Some(count) = self.0.get_mut(kind as usize) {
            *count += 1;
        }
    }
}

/// What one piece leaves for the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// Something masked goes on.
    pub(super) open: Option<super::extent::Extent>,
    /// A private key goes on in the next line, and this many lines of it were seen.
    pub(super) pem: Option<u32>,
    /// The last thing that was written is a mask.
    after_mask: bool,
    pub(super) counts: Counts,
}

/// A piece of text to go over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// Before this is what was written already, for recognisers that look back.
    pub(super) floor: usize,
    /// From here on nothing is judged yet: too little follows. The length, where the piece is whole.
    pub(super) limit: usize,
    /// Whether it ends where a line or the text does.
    pub(super) whole: bool,
}

impl Engine {
    /// For lines, within a program that has other things to do: small, and made in a moment.
    pub fn new(rules: Rules) -> Self {
        Engine::of_kind(rules, AhoCorasickKind::ContiguousNFA)
    }

    /// For whole files: larger, made more slowly, and faster.
    pub fn for_files(rules: Rules) -> Self {
        Engine::of_kind(rules, AhoCorasickKind::DFA)
    }

    fn of_kind(rules: Rules, kind: AhoCorasickKind) -> Self {
        let marks = marks(&rules);
        let literals: Vec<String> = marks.keys().cloned().collect();
        let around = literals
            .iter()
            .map(|short| holders(&literals, short))
            .collect();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(kind))
            .build(&literals)
            .ok();
        let extra = rules
            .fields
            .iter()
            .map(|name| names::folded(name))
            .collect();
        Engine {
            automaton,
            marks: marks.into_values().collect(),
            around,
            literals,
            rules,
            extra,
        }
    }

    /// What the automaton looks for: the floor under the engine's own speed is a scan for these alone.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.literals.iter().map(String::as_str)
    }

    /// Goes over a piece, and writes it without secrets. Answers up to where it is written: to the end,
    /// where the piece is whole.
    pub(super) fn pass(&self, piece: Piece<'_>, state: &mut State, out: &mut Vec<u8>) -> usize {
        let Some(automaton) = &self.automaton else {
            out.extend_from_slice(MASK.as_bytes());
            return piece.bytes.len();
        };
        let masked = state.after_mask.then_some(piece.floor);
        let mut pass = Pass {
            engine: self,
            automaton,
            piece,
            state,
            out,
            written: piece.floor,
            masked,
            clear: 0,
            cards: Runs::new(self.rules.kinds.has(Kind::Cards), Kind::Cards),
            opaque: Runs::new(self.rules.kinds.has(Kind::Opaque), Kind::Opaque),
        };
        pass.run();
        let (written, masked) = (pass.written, pass.masked);
        state.after_mask = masked == Some(written);
        written
    }

    fn judge(&self, literal: usize, start: usize, view: &View<'_>, clear: &mut usize) -> Judged {
        let mut judged = Judged::default();
        let length = self.literals.get(literal).map_or(0, String::len);
        let marks = self.marks.get(literal).into_iter().flatten();
        for mark in marks {
            judged = self.recognise(*mark, start, start + length, view, clear);
            if judged.found.is_some() {
                return judged;
            }
        }
        for (index, offset) in self.around.get(literal).into_iter().flatten() {
            let longer = self.literals.get(*index).map_or("", String::as_str);
            let Some(start) = start.checked_sub(*offset).filter(|at| *at >= view.floor) else {
                continue;
            };
            let end = start + longer.len();
            if !view
                .slice(start, end)
                .eq_ignore_ascii_case(longer.as_bytes())
            {
                continue;
            }
            for mark in self.marks.get(*index).into_iter().flatten() {
                judged = self.recognise(*mark, start, end, view, clear);
                if judged.found.is_some() {
                    return judged;
                }
            }
        }
        judged
    }

    /// Where the secret ends that a name before `until` gives away and that goes on behind it.
    fn named(&self, view: &View<'_>, from: usize, until: usize) -> Option<usize> {
        let automaton = self.automaton.as_ref()?;
        let mut at = from;
        while at < until {
            let hit = automaton.find(Input::new(view.bytes).span(at..until))?;
            at = hit.start() + 1;
            let marks = self.marks.get(hit.pattern().as_usize());
            for mark in marks
                .into_iter()
                .flatten()
                .filter(|mark| is_beside_a_name(**mark))
            {
                let judged = self.recognise(*mark, hit.start(), hit.end(), view, &mut 0);
                let Some(found) = judged.found else { continue };
                match found.end {
                    End::At(end) if found.start <= until && end > until => return Some(end),
                    End::At(end) => at = at.max(end),
                    End::Open(_) => return None,
                }
            }
        }
        None
    }

    fn recognise(
        &self,
        mark: Mark,
        start: usize,
        end: usize,
        view: &View<'_>,
        clear: &mut usize,
    ) -> Judged {
        let found = match mark {
            Mark::Part => fields::part(view, start, end),
            Mark::Whole(length) => fields::whole(view, start, start + length),
            Mark::InQuery => fields::in_query(view, end),
            Mark::Key(index) => PROVIDERS
                .get(index)
                .and_then(|provider| shapes::key(view, start, provider)),
            Mark::Prefix(index) => self
                .rules
                .prefixes
                .get(index)
                .and_then(|prefix| shapes::prefixed(view, start, prefix)),
            Mark::Jwt => shapes::jwt(view, start),
            Mark::Scheme => shapes::credentials(view, start, end),
            Mark::PrivateKey => {
                return match shapes::private_key(view, start, end) {
                    Some((found, goes_on)) => Judged {
                        found: Some(found),
                        goes_on,
                    },
                    None => Judged::default(),
                };
            }
            Mark::UserInformation => {
                shapes::user_information(view, end, clear, |view, from, until| {
                    self.named(view, from, until)
                })
            }
            Mark::At => shapes::email(view, start, end, self.rules.any_domain),
            Mark::Home => shapes::home(view, start, end),
            Mark::WindowsHome => shapes::windows_home(view, start, end),
            Mark::Query => shapes::query(view, start),
        };
        Judged {
            found,
            goes_on: false,
        }
    }
}

/// Whether what it finds is a secret because of what stands beside it, so that it may be anything.
const fn is_beside_a_name(mark: Mark) -> bool {
    match mark {
        Mark::Part | Mark::Whole(_) | Mark::InQuery | Mark::Scheme => true,
        Mark::Key(_)
        | Mark::Prefix(_)
        | Mark::Jwt
        | Mark::PrivateKey
        | Mark::UserInformation
        | Mark::At
        | Mark::Home
        | Mark::WindowsHome
        | Mark::Query => false,
    }
}

/// The literals that hold this one, and where.
fn holders(literals: &[String], short: &str) -> Vec<(usize, usize)> {
    let longer = literals
        .iter()
        .enumerate()
        .filter(|(_, long)| long.len() > short.len());
    longer
        .flat_map(|(index, long)| {
            long.match_indices(short)
                .map(move |(offset, _)| (index, offset))
        })
        .collect()
}

#[derive(Debug, Default, Clone, Copy)]
struct Judged {
    found: Option<Found>,
    goes_on: bool,
}

fn marks(rules: &Rules) -> BTreeMap<String, Vec<Mark>> {
    let mut marks: BTreeMap<String, Vec<Mark>> = BTreeMap::new();
    let mut add = |literal: &str, mark: Mark| {
        let literal = literal.to_ascii_lowercase();
        let known = marks.entry(literal).or_default();
        if !known.contains(&mark) {
            known.push(mark);
        }
    };
    let has = |kind| rules.kinds.has(kind);
    if has(Kind::Fields) {
        for literal in fields::literals(&rules.fields) {
            add(&literal, Mark::Part);
        }
        for name in names::WHOLE {
            for after in names::AFTER_WHOLE {
                add(&format!("{name}{after}"), Mark::Whole(name.len()));
            }
        }
        for name in names::IN_QUERIES {
            add(&format!("?{name}="), Mark::InQuery);
            add(&format!("&{name}="), Mark::InQuery);
        }
    }
    if has(Kind::Keys) {
        for (index, provider) in PROVIDERS.iter().enumerate() {
            add(provider.prefix, Mark::Key(index));
        }
        for (index, prefix) in rules.prefixes.iter().enumerate() {
            add(prefix, Mark::Prefix(index));
        }
    }
    if has(Kind::Tokens) {
        add("eyJ", Mark::Jwt);
        for scheme in ["bearer", "basic", "dpop"] {
            for after in [" ", "+", "%20"] {
                add(&format!("{scheme}{after}"), Mark::Scheme);
            }
        }
    }
    for (kind, literal, mark) in [
        (Kind::PrivateKeys, "-----BEGIN ", Mark::PrivateKey),
        (Kind::Urls, "://", Mark::UserInformation),
        (Kind::Emails, "@", Mark::At),
        (Kind::Emails, "%40", Mark::At),
        (Kind::Paths, "/home/", Mark::Home),
        (Kind::Paths, "/Users/", Mark::Home),
        (Kind::Paths, ":\\users\\", Mark::WindowsHome),
        (Kind::Paths, ":\\\\users\\\\", Mark::WindowsHome),
        (Kind::Queries, "?", Mark::Query),
    ] {
        if has(kind) {
            add(literal, mark);
        }
    }
    marks
}

/// One going over of one piece.
struct Pass<'p, 'a> {
    engine: &'p Engine,
    automaton: &'p AhoCorasick,
    piece: Piece<'a>,
    state: &'p mut State,
    out: &'p mut Vec<u8>,
    written: usize,
    masked: Option<usize>,
    /// Up to here no `@` stands in what may be a URL.
    clear: usize,
    cards: Runs,
    opaque: Runs,
}

impl<'a> Pass<'_, 'a> {
    fn run(&mut self) {
        let Some(mut at) = self.resume() else { return };
        loop {
            if self.state.pem.is_some() {
                at = self.pem_lines(at);
            }
            if at >= self.piece.limit {
                break;
            }
            let input = Input::new(self.piece.bytes).span(at..self.piece.bytes.len());
            let Some(hit) = self.automaton.find(input) else {
                break;
            };
            if hit.start() >= self.piece.limit {
                break;
            }
            // Before, so that what follows a card sees its mask, as it will the second time.
            self.runs_before(hit.start());
            let view = self.view();
            let literal = hit.pattern().as_usize();
            let judged = self
                .engine
                .judge(literal, hit.start(), &view, &mut self.clear);
            let Some(found) = judged.found else {
                at = hit.start() + 1;
                continue;
            };
            self.within_name(&found);
            let Some(end) = self.mask(&found) else {
                return;
            };
            if judged.goes_on {
                self.state.pem = Some(0);
            }
            at = end;
        }
        let until = if self.piece.whole {
            self.piece.bytes.len()
        } else {
            super::stream::cut(self.piece.bytes, self.written, self.piece.limit)
        };
        self.plain(until);
        let is_cut = !self.piece.whole && self.masked == Some(until);
        if is_cut && self.engine.rules.kinds.has(Kind::Opaque) {
            // Opaque text that was cut: the rest of it is masked already.
            self.state.open = Some(super::extent::Extent::While(runs::is_opaque_part));
        }
    }

    fn view(&self) -> View<'a> {
        View {
            bytes: self.piece.bytes,
            floor: self.written,
            masked: self.masked,
            whole: self.piece.whole,
        }
    }

    /// Passes over what is left of something that began in an earlier piece.
    fn resume(&mut self) -> Option<usize> {
        let Some(mut extent) = self.state.open.take() else {
            return Some(self.written);
        };
        let end = match extent.end(self.piece.bytes, self.written) {
            Some(end) => end,
            None if self.piece.whole => self.piece.bytes.len(),
            None => {
                self.state.open = Some(extent);
                self.written = self.piece.bytes.len();
                return None;
            }
        };
        self.written = end;
        self.masked = Some(end);
        Some(end)
    }

    /// A key in the very name of a field is masked with its value.
    fn within_name(&mut self, field: &Found) {
        if field.kind == Kind::Fields {
            let from = field.start.saturating_sub(128);
            self.between(from, field.start, |kind| kind != Kind::Fields);
        }
    }

    /// Masks what is found from `at` on, as if the text ended at `until`.
    fn between(&mut self, at: usize, until: usize, is_wanted: impl Fn(Kind) -> bool) {
        let mut at = at.max(self.written);
        while at < until {
            let input = Input::new(self.piece.bytes).span(at..until);
            let Some(hit) = self.automaton.find(input) else {
                return;
            };
            at = hit.start() + 1;
            let mut view = self.view();
            view.bytes = view.slice(0, until);
            view.whole = true;
            let literal = hit.pattern().as_usize();
            let judged = self
                .engine
                .judge(literal, hit.start(), &view, &mut self.clear);
            if let Some(found) = judged.found.filter(|found| is_wanted(found.kind))
                && let Some(end) = self.mask(&found)
            {
                at = end;
            }
        }
    }

    /// Writes what stands before, and the mask. Answers where it ends, if that is in this piece.
    fn mask(&mut self, found: &Found) -> Option<usize> {
        self.plain(found.start);
        self.cover(found);
        match found.end {
            End::At(end) => {
                self.written = end;
                self.masked = Some(end);
                Some(end)
            }
            End::Open(extent) => {
                self.state.open = Some(extent);
                self.written = self.piece.bytes.len();
                None
            }
        }
    }

    fn cover(&mut self, found: &Found) {
        self.state.counts.add(found.kind);
        match found.cover {
            Cover::Mask => self.out.extend_from_slice(MASK.as_bytes()),
            Cover::Quoted { quote, slashes } => {
                for part in [None, Some(MASK), None] {
                    if let Some(mask) = part {
                        self.out.extend_from_slice(mask.as_bytes());
                        continue;
                    }
                    self.out.extend(std::iter::repeat_n(b'\\', slashes));
                    self.out.push(quote);
                }
            }
            Cover::Stars { first } => {
                let kept = self.piece.bytes.get(found.start..found.start + first);
                self.out.extend_from_slice(kept.unwrap_or_default());
                self.out.extend_from_slice(b"***");
            }
        }
    }

    /// Writes what lies between, up to `until`, without cards and opaque text.
    fn plain(&mut self, until: usize) {
        self.runs_before(until);
        let bytes = self.piece.bytes.get(..until).unwrap_or_default();
        // What the next mask cuts off ends here, as it will when the result is gone over again.
        let last = [&self.cards, &self.opaque].into_iter().find_map(|runs| {
            let (start, end) = runs.at_end(bytes, self.written)?;
            Some((start, end, runs.kind))
        });
        if let Some((start, end, kind)) = last {
            self.cover_run(start, end, kind);
        }
        let rest = bytes.get(self.written..).unwrap_or_default();
        self.out.extend_from_slice(rest);
        self.written = self.written.max(until);
    }

    /// Masks the cards and the opaque text that end before `until`.
    fn runs_before(&mut self, until: usize) {
        loop {
            let (bytes, from) = (self.piece.bytes, self.written);
            let next = [self.cards.next(bytes, from), self.opaque.next(bytes, from)];
            match next.into_iter().flatten().min() {
                Some((start, end, kind)) if end <= until => self.cover_run(start, end, kind),
                Some(_) | None => return,
            }
        }
    }

    fn cover_run(&mut self, start: usize, end: usize, kind: Kind) {
        let before = self.piece.bytes.get(self.written..start);
        self.out.extend_from_slice(before.unwrap_or_default());
        self.out.extend_from_slice(MASK.as_bytes());
        self.state.counts.add(kind);
        self.written = end;
        self.masked = Some(end);
    }

    /// The lines of a private key whose first line was masked.
    fn pem_lines(&mut self, mut at: usize) -> usize {
        while let Some(seen) = self.state.pem {
            let rest = self.piece.bytes.get(at..).unwrap_or_default();
            let breaks = rest
                .iter()
                .take_while(|byte| super::extent::is_break(**byte));
            at += breaks.count();
            let rest = self.piece.bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                return at;
            }
            let length = rest.iter().position(|byte| super::extent::is_break(*byte));
            let line = rest.get(..length.unwrap_or(rest.len())).unwrap_or_default();
            let Some(part) = pem::part(line) else {
                self.state.pem = None;
                return at;
            };
            let found = Found {
                kind: Kind::PrivateKeys,
                start: at + part.start,
                end: End::At(at + part.end),
                cover: Cover::Mask,
            };
            // What a log writes before a line of the key may hold secrets of its own.
            self.between(at, found.start, |_| true);
            let is_masked = self.view().slice(found.start, at + part.end) == MASK.as_bytes();
            if part.start < part.end && !is_masked {
                self.plain(found.start);
                self.out.extend_from_slice(MASK.as_bytes());
                self.written = at + part.end;
                self.masked = Some(self.written);
            }
            at += part.end;
            self.state.pem = (!part.is_last && seen < pem::MOST_LINES).then_some(seen + 1);
        }
        at
    }
}

/// The runs of one kind in one piece, each looked for once.
struct Runs {
    kind: Kind,
    wanted: bool,
    /// The last one that was found.
    known: Option<(usize, usize)>,
    over: bool,
}

impl Runs {
    fn new(wanted: bool, kind: Kind) -> Self {
        Runs {
            kind,
            wanted,
            known: None,
            over: !wanted,
        }
    }

    fn next(&mut self, bytes: &[u8], from: usize) -> Option<(usize, usize, Kind)> {
        if self.over {
            return None;
        }
        if self.known.is_none_or(|(start, _)| start < from) {
            self.known = match self.kind {
                Kind::Opaque => runs::opaque(bytes, from),
                _ => runs::card(bytes, from),
            };
            self.over = self.known.is_none();
        }
        let (start, end) = self.known?;
        Some((start, end, self.kind))
    }

    /// One that ends where `bytes` end.
    fn at_end(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        if !self.wanted {
            return None;
        }
        match self.kind {
            Kind::Opaque => runs::opaque_at_end(bytes, from),
            _ => runs::card_at_end(bytes, from),
        }
    }
}

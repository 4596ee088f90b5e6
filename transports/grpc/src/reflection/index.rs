//! Finds the file that declares a name.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use bytes::Bytes;
use interloop::{Error, Result};
use prost::Message;

use super::descriptors::{Field, File, FileSet, Parts, Struct};

/// Files, by everything they can be requested by. Files have numbers.
#[derive(Default)]
pub(super) struct Index {
    files: Vec<Known>,
    names: HashMap<String, usize>,
    symbols: HashMap<String, Symbol>,
    extensions: HashMap<String, BTreeMap<i32, usize>>,
}

struct Known {
    bytes: Bytes,
    package: String,
    imports: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Symbol {
    file: usize,
    is_message: bool,
}

impl Index {
    /// Indexes the files. Of several files with one name the first is kept: separately built sets share imports.
    pub(super) fn new<'a>(sets: impl IntoIterator<Item = &'a Bytes>) -> Result<Self> {
        let mut index = Self::default();
        let mut imports = Vec::new();
        for (at, set) in sets.into_iter().enumerate() {
            let unreadable = |why: &dyn std::fmt::Display| {
                Error::new(format!("file descriptor set {} of reflection can't be read: {why}", at + 1))
            };
            let set = FileSet::decode(set.clone()).map_err(|error| unreadable(&error))?;
            if set.files.is_empty() {
                return Err(unreadable(&"there is no file in it"));
            }
            for bytes in set.files {
                let file = File::decode(bytes.clone()).map_err(|error| unreadable(&error))?;
                if file.name.is_empty() {
                    return Err(unreadable(&"a file in it has no name"));
                }
                if let Some(names) = index.add(bytes, &file)? {
                    imports.push((file.name, names));
                }
            }
        }
        for (at, (file, names)) in imports.into_iter().enumerate() {
            let find = |name: &String| {
                let missing = || format!("reflection has {file} without {name}, which it imports");
                index.names.get(name).copied().ok_or_else(|| Error::new(missing()))
            };
            index.files[at].imports = names.iter().map(find).collect::<Result<_>>()?;
        }
        Ok(index)
    }

    /// Returns the file's imports; None if its name is known.
    fn add(&mut self, bytes: Bytes, file: &File) -> Result<Option<Vec<String>>> {
        let at = self.files.len();
        match self.names.entry(file.name.clone()) {
            Entry::Occupied(known) => {
                let (first, second) = (&self.files[*known.get()].package, &file.package);
                if first != second {
                    let name = &file.name;
                    let why = format!("reflection has two files {name}, of the packages {first:?} and {second:?}");
                    return Err(Error::new(why));
                }
                return Ok(None);
            }
            Entry::Vacant(new) => new.insert(at),
        };
        self.files.push(Known { bytes, package: file.package.clone(), imports: Vec::new() });
        let scope = &file.package;
        self.add_messages(at, scope, &file.messages);
        self.add_extensions(at, scope, &file.extensions);
        self.add_enums(at, scope, &file.enums);
        for service in &file.services {
            let name = self.symbol(at, scope, &service.name);
            for method in &service.parts {
                self.symbol(at, &name, &method.name);
            }
        }
        Ok(Some(file.imports.clone()))
    }

    fn add_messages(&mut self, at: usize, scope: &str, messages: &[Struct]) {
        for message in messages {
            let name = full(scope, &message.name);
            self.symbols.entry(name.clone()).or_insert(Symbol { file: at, is_message: true });
            for part in message.fields.iter().map(|field| &field.name).chain(message.oneofs.iter().map(|one| &one.name))
            {
                self.symbol(at, &name, part);
            }
            self.add_messages(at, &name, &message.messages);
            self.add_extensions(at, &name, &message.extensions);
            self.add_enums(at, &name, &message.enums);
        }
    }

    /// Adds enums. A value's name is a sibling of its enum's, not a child.
    fn add_enums(&mut self, at: usize, scope: &str, enums: &[Parts]) {
        for one in enums {
            self.symbol(at, scope, &one.name);
            for value in &one.parts {
                self.symbol(at, scope, &value.name);
            }
        }
    }

    fn add_extensions(&mut self, at: usize, scope: &str, extensions: &[Field]) {
        for extension in extensions {
            self.symbol(at, scope, &extension.name);
            let of = extension.extendee.trim_start_matches('.').to_owned();
            self.extensions.entry(of).or_default().entry(extension.number).or_insert(at);
        }
    }

    fn symbol(&mut self, at: usize, scope: &str, name: &str) -> String {
        let name = full(scope, name);
        self.symbols.entry(name.clone()).or_insert(Symbol { file: at, is_message: false });
        name
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn by_symbol(&self, name: &str) -> Option<usize> {
        Some(self.symbols.get(name)?.file)
    }

    pub(super) fn by_extension(&self, of: &str, number: i32) -> Option<usize> {
        self.extensions.get(of)?.get(&number).copied()
    }

    /// Returns None if there is no such message.
    pub(super) fn extension_numbers(&self, of: &str) -> Option<Vec<i32>> {
        match self.extensions.get(of) {
            Some(numbers) => Some(numbers.keys().copied().collect()),
            None => self.symbols.get(of)?.is_message.then(Vec::new),
        }
    }

    /// Returns a file and all its imports that were not sent yet, and marks them as sent.
    pub(super) fn with_imports(&self, file: usize, told: &mut [bool]) -> Vec<Bytes> {
        told[file] = true;
        let mut files = vec![file];
        let mut next = 0;
        while let Some(&file) = files.get(next) {
            next += 1;
            for &import in &self.files[file].imports {
                if !std::mem::replace(&mut told[import], true) {
                    files.push(import);
                }
            }
        }
        files.into_iter().map(|file| self.files[file].bytes.clone()).collect()
    }
}

fn full(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

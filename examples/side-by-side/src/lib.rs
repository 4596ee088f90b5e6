//! The pages of a board, whatever loop it lives on: `side-by-side` has it on glib, `gtk-counter` on GTK's.

pub mod web;

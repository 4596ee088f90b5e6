//! All pairs of loops call each other: one test each.

use interloop_e2e::{subjects, watched};

macro_rules! with_each {
    ($here:ident: $($there:ident is $partner:ident,)+) => {
        mod $here {
            use super::*;

            $(#[test]
            fn $there() {
                watched(|| {
                    let table = interloop_conformance::check_partners(&subjects::$here(), &subjects::$partner());
                    assert!(table.is_passed(), "\n{table}");
                });
            })+
        }
    };
}

macro_rules! each {
    ($($here:ident),+) => {
        // The default context exists once.
        $(with_each! {
            $here: thread is thread, tokio is tokio, glib is glib_private, mio is mio, calloop is calloop, smol is smol,
                async_std is async_std, compio is compio,
        })+
    };
}

each!(thread, tokio, glib, mio, calloop, smol, async_std, compio);

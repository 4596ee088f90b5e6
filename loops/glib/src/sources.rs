//! Clears a private context on its own thread.
//!
//! A context destroys its sources when its last reference is dropped, on whichever thread that is; a source with something that is not `Send` in it then
//! ends the process. Clones of a context may be anywhere.

use glib::{ControlFlow, MainContext, Priority, SourceId, translate::FromGlib};

/// Dropped, it destroys all sources of a context, on this thread.
pub(crate) struct Clear<'a>(pub(crate) &'a MainContext);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        let mut done = 0;
        loop {
            // A context numbers its sources from 1; the newest has the highest number.
            let newest = glib::idle_source_new(None, Priority::LOW, || ControlFlow::Break);
            let last = newest.attach(Some(self.0)).as_raw();
            newest.destroy();
            let found = (done + 1..last).filter(|&number| destroy(self.0, number)).count();
            done = last;
            // What was in them may have attached more when it was dropped.
            if found == 0 {
                return;
            }
        }
    }
}

/// Says whether there was one.
#[allow(unsafe_code)]
fn destroy(context: &MainContext, number: u32) -> bool {
    // SAFETY: a `SourceId` is a number that isn't 0, which `number` isn't: it counts from 1. It is only looked up, in the context that gives these numbers
    // out; where there is no such source (any more), nothing is found.
    let id = unsafe { SourceId::from_glib(number) };
    context.find_source_by_id(&id).map(|source| source.destroy()).is_some()
}

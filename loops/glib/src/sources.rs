//! What glib can do with sources and its bindings can't: to leave a descriptor in its poll, and to clear a private context.
#![allow(unsafe_code)]

use std::{
    mem::size_of,
    os::fd::{AsFd, AsRawFd},
};

use glib::{
    ControlFlow, IOCondition, MainContext, Priority, Source, SourceId,
    ffi::{self, GSource, GSourceFunc, GSourceFuncs, gboolean, gpointer},
    thread_guard::ThreadGuard,
    translate::{FromGlib, IntoGlib, ToGlibPtr, from_glib_full},
};

/// A source that calls this whenever the descriptor is readable, in a main loop within its own call too.
///
/// The bindings' own costs a write, a read and a poll more at each dispatch: glib takes the descriptor out of its poll meanwhile, and wakes itself when it puts
/// it back. (A source without a descriptor, made ready by its time, makes a poster write under the context's lock, which the woken thread then waits for.)
pub(crate) fn watch<T: AsFd + 'static>(fd: T, readable: impl Fn(&T) + 'static) -> Source {
    let number = fd.as_fd().as_raw_fd();
    let source = source(move || readable(&fd));
    let raw: *mut GSource = source.to_glib_none().0;
    // SAFETY: the source is valid and not attached yet. The descriptor is open whenever glib polls it: the callback owns it, and is dropped
    // by the thread that polls, with the source.
    unsafe {
        ffi::g_source_add_unix_fd(raw, number, IOCondition::IN.into_glib());
        ffi::g_source_set_can_recurse(raw, glib::ffi::GTRUE);
    }
    source
}

/// Without `prepare` and `check`, its descriptor alone makes it ready.
static WATCH: GSourceFuncs = GSourceFuncs {
    prepare: None,
    check: None,
    dispatch: Some(dispatch),
    finalize: None,
    closure_callback: None,
    closure_marshal: None,
};

/// Belongs to this thread: called elsewhere it panics, which ends the process, as for the bindings' own sources.
fn source<F: Fn() + 'static>(ready: F) -> Source {
    let callback = Box::into_raw(Box::new(ThreadGuard::new(ready)));
    // SAFETY: glib only reads the functions, which are static, and wants the size of what it is to allocate, which is nothing of ours. The reference that it
    // returns becomes the `Source`'s. `call` and `free` are given what `callback` points to, of type `F`; `free` once, when glib is done with it.
    unsafe {
        let raw = ffi::g_source_new((&raw const WATCH).cast_mut(), size_of::<GSource>() as u32);
        ffi::g_source_set_callback(raw, Some(call::<F>), callback.cast(), Some(free::<F>));
        from_glib_full(raw)
    }
}

unsafe extern "C" fn call<F: Fn() + 'static>(callback: gpointer) -> gboolean {
    // SAFETY: it is the box of `source`, shared as `Fn` may be: glib may call this within itself, on this thread.
    let callback = unsafe { &*callback.cast::<ThreadGuard<F>>() };
    callback.get_ref()();
    ffi::G_SOURCE_CONTINUE
}

unsafe extern "C" fn free<F: Fn() + 'static>(callback: gpointer) {
    // SAFETY: it is the box of `source`, and glib calls this once.
    drop(unsafe { Box::from_raw(callback.cast::<ThreadGuard<F>>()) });
}

unsafe extern "C" fn dispatch(_: *mut GSource, callback: GSourceFunc, data: gpointer) -> gboolean {
    match callback {
        // SAFETY: glib hands over what `source` has set, and holds on to it during the call.
        Some(callback) => unsafe { callback(data) },
        None => ffi::G_SOURCE_REMOVE,
    }
}

/// Dropped, it destroys all sources of a context, on this thread.
///
/// A context destroys its sources when its last reference is dropped, on whichever thread that is; a source with something that is not `Send` in it then
/// ends the process. Clones of a context may be anywhere.
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
fn destroy(context: &MainContext, number: u32) -> bool {
    // SAFETY: a `SourceId` is a number that isn't 0, which `number` isn't: it counts from 1. It is only looked up, in the context that gives these numbers
    // out; where there is no such source (any more), nothing is found.
    let id = unsafe { SourceId::from_glib(number) };
    context.find_source_by_id(&id).map(|source| source.destroy()).is_some()
}

//! Operations on sources that glib offers and its bindings don't: leaving a descriptor in its poll, and clearing a
//! private context.
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

/// Makes a source that calls `readable` whenever the descriptor is readable, also in a main loop within that call.
///
/// The source of the bindings costs one more write, read and poll for each dispatch: glib takes the descriptor out of
/// its poll in the meantime, and wakes itself when it puts the descriptor back. (A source without a descriptor, made
/// ready by its time, makes a poster write under the context's lock, which the woken thread then waits for.)
pub(crate) fn watch<T: AsFd + 'static>(fd: T, readable: impl Fn(&T) + 'static) -> Source {
    let number = fd.as_fd().as_raw_fd();
    let source = source(move || readable(&fd));
    let raw: *mut GSource = source.to_glib_none().0;
    // SAFETY: the source is valid and not attached yet. The descriptor is open whenever glib polls it: the callback
    // owns the descriptor, and is dropped by the thread that polls, with the source.
    unsafe {
        ffi::g_source_add_unix_fd(raw, number, IOCondition::IN.into_glib());
        ffi::g_source_set_can_recurse(raw, glib::ffi::GTRUE);
    }
    source
}

/// Without `prepare` and `check`, only the descriptor makes the source ready.
static WATCH: GSourceFuncs = GSourceFuncs {
    prepare: None,
    check: None,
    dispatch: Some(dispatch),
    finalize: None,
    closure_callback: None,
    closure_marshal: None,
};

/// Makes a source that belongs to this thread: called elsewhere it panics, which ends the process, as for the bindings'
/// own sources.
fn source<F: Fn() + 'static>(ready: F) -> Source {
    let callback = Box::into_raw(Box::new(ThreadGuard::new(ready)));
    // SAFETY: glib only reads the functions, which are static, and wants the size of what it must allocate, which is
    // nothing of ours. The reference that it returns becomes the `Source`'s. `call` and `free` are given what
    // `callback` points to, of type `F`; `free` once, when glib is done with it.
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

/// Destroys all sources of a context when it is dropped, on this thread.
///
/// A context destroys its sources when its last reference is dropped, on whichever thread that is; a source that holds
/// something `!Send` then ends the process. Clones of a context may be anywhere.
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
            // The values in them may have attached more sources when they were dropped.
            if found == 0 {
                return;
            }
        }
    }
}

/// Destroys the source of this number; returns whether there was one.
fn destroy(context: &MainContext, number: u32) -> bool {
    // SAFETY: a `SourceId` is a number other than 0, and `number` isn't 0: it counts from 1. It is only looked up, in
    // the context that assigns these numbers; if there is no such source (any more), nothing is found.
    let id = unsafe { SourceId::from_glib(number) };
    context.find_source_by_id(&id).map(|source| source.destroy()).is_some()
}

//! The end of a thread, after the destructors of all its locals, which may be user code and block.

use std::cell::RefCell;

/// Runs this when the thread's other locals have been destroyed. Must be called before any of them exists: the first is
/// destroyed last.
pub(super) fn at_the_end_of_this_thread(deed: impl FnOnce() + 'static) {
    struct Last(Option<Box<dyn FnOnce()>>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(|deed| deed());
        }
    }
    thread_local!(static LAST: RefCell<Option<Last>> = const { RefCell::new(None) });
    LAST.set(Some(Last(Some(Box::new(deed)))));
}

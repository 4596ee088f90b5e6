//! The window: a label, a button that counts, a list of messages.

use std::{cell::Cell, rc::Rc};

use gtk4::{
    Application, ApplicationWindow, Box, Button, Label, ListBox, Orientation, PolicyType, ScrolledWindow, prelude::*,
};
use serde::Serialize;
use side_by_side::web::{Board, Message};

/// GTK's objects, which are `!Send` and live on the main thread.
#[derive(Debug)]
pub(crate) struct Window {
    window: ApplicationWindow,
    list: ListBox,
    clicks: Rc<Cell<u64>>,
    messages: Vec<Message>,
}

/// The data that may leave the thread.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    clicks: u64,
    messages: Vec<Message>,
}

impl Window {
    pub(crate) fn new(application: &Application) -> Self {
        let clicks = Rc::new(Cell::new(0));
        let button = Button::with_label("Clicked 0 times");
        let counted = clicks.clone();
        button.connect_clicked(move |button| {
            counted.set(counted.get() + 1);
            button.set_label(&format!("Clicked {} times", counted.get()));
        });
        let list = ListBox::new();
        let scrolled =
            ScrolledWindow::builder().hscrollbar_policy(PolicyType::Never).vexpand(true).child(&list).build();
        let column = Box::new(Orientation::Vertical, 8);
        column.append(&Label::new(Some("What is said over HTTP stands here:")));
        column.append(&button);
        column.append(&scrolled);
        let window = ApplicationWindow::builder().application(application).title("gtk-counter").child(&column);
        application.set_accels_for_action("window.close", &["<Ctrl>w"]);
        let window = window.default_width(400).default_height(300).build();
        Self { window, list, clicks, messages: Vec::new() }
    }

    pub(crate) fn present(&self) {
        self.window.present();
    }
}

impl Board for Window {
    const COUNTED: (&'static str, &'static str) = ("clicks", "The button was clicked");
    type Snapshot = Snapshot;

    fn say(&mut self, text: String) -> u64 {
        // The newest on top, where it is visible.
        self.list.prepend(&Label::builder().label(&text).xalign(0.0).wrap(true).build());
        let number = self.messages.len() as u64 + 1;
        self.messages.push(Message { number, text });
        number
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { clicks: self.clicks.get(), messages: self.messages.clone() }
    }
}

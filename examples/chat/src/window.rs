//! The window, on GTK's loop: it shows messages, and sends the typed ones.

use std::cell::RefCell;

use gtk4::{
    ApplicationWindow, Box, Button, Entry, Label, ListBox, Orientation, PolicyType, ScrolledWindow, SelectionMode,
    glib::markup_escape_text, prelude::*,
};
use interloop::{Context, Error, Remote, Result, Slot};
use interloop_glib::Gtk;

use crate::{
    Options,
    notify::Notifier,
    room::{Event, LONGEST_TEXT, Room},
};

/// How many lines are shown.
const SHOWN: usize = 200;

/// GTK's objects, which are `!Send` and live on the main thread.
pub(crate) struct Window {
    window: ApplicationWindow,
    lines: ListBox,
    name: String,
    notifier: Remote<Notifier>,
}

pub(crate) async fn run(
    cx: Context<Gtk>,
    slot: Slot<Window>,
    to_window: Remote<Window>,
    room: Remote<RefCell<Room>>,
    notifier: Remote<Notifier>,
) -> Result {
    let name = cx.service().own_options::<Options>().map_or_else(|| "Window".to_owned(), |options| options.name);
    let entry = Entry::builder().placeholder_text("Say something").max_length(LONGEST_TEXT as i32).hexpand(true);
    let entry = entry.build();
    let window = cx.fill(slot, Window::new(&cx, &entry, &name, notifier));

    // It is called on the room's thread: the window receives the event on its own.
    let hear = move |event: &Event| {
        let event = event.clone();
        to_window.post(|window| window.show(event)).is_ok()
    };
    let join = room.call(move |room| room.borrow_mut().join(&name, hear));
    let member = join.await?.map_err(|why| Error::new(format!("can't enter the room: {why}")))?;
    entry.connect_activate(move |entry| {
        let text = entry.text().to_string();
        entry.set_text("");
        if room.post(move |room| room.borrow_mut().say(member, &text)).is_err() {
            entry.set_placeholder_text(Some("The room is closed"));
        }
    });

    window.present();
    cx.until_shutdown().await;
    // The window is destroyed at the end of its loop.
    Ok(())
}

impl Window {
    fn new(cx: &Context<Gtk>, entry: &Entry, name: &str, notifier: Remote<Notifier>) -> Self {
        let lines = ListBox::builder().selection_mode(SelectionMode::None).build();
        let scrolled = ScrolledWindow::builder().hscrollbar_policy(PolicyType::Never).vexpand(true).has_frame(true);
        let scrolled = scrolled.child(&lines).build();
        // The newest is at the bottom, and must be visible.
        scrolled.vadjustment().connect_changed(|bar| bar.set_value(bar.upper() - bar.page_size()));
        let say = Button::builder().label("Say").css_classes(["suggested-action"]).build();
        let typed = entry.clone();
        say.connect_clicked(move |_| {
            typed.emit_activate();
            typed.grab_focus();
        });
        let bottom = Box::new(Orientation::Horizontal, 8);
        bottom.append(entry);
        bottom.append(&say);
        let column = Box::builder().orientation(Orientation::Vertical).spacing(8);
        let column = column.margin_top(12).margin_bottom(12).margin_start(12).margin_end(12).build();
        column.append(&scrolled);
        column.append(&bottom);
        let application = cx.native().application();
        application.set_accels_for_action("window.close", &["<Ctrl>w"]);
        let window = ApplicationWindow::builder().application(application).title(format!("Chat: {name}"));
        let window = window.child(&column).default_width(440).default_height(360).build();
        entry.grab_focus();
        Self { window, lines, name: name.to_owned(), notifier }
    }

    fn show(&self, event: Event) {
        let line = Label::builder().xalign(0.0).wrap(true).selectable(true).can_focus(false).build();
        let escaped = markup_escape_text;
        match &event {
            Event::Said { name, text } => line.set_markup(&format!("<b>{}</b>  {}", escaped(name), escaped(text))),
            Event::Joined { name } => line.set_text(&format!("{name} is here")),
            Event::Left { name } => line.set_text(&format!("{name} is gone")),
            Event::Refused { why } => line.set_text(why),
        }
        if !matches!(event, Event::Said { .. }) {
            line.add_css_class("dim-label");
        }
        self.lines.append(&line);
        if let Some(oldest) = self.lines.first_child().filter(|_| self.lines.row_at_index(SHOWN as i32).is_some()) {
            self.lines.remove(&oldest);
        }
        if let Event::Said { name, text } = event
            && name != self.name
            && !self.window.is_active()
        {
            // A call from here to a third loop. Without notifications it finds nobody.
            let _ = self.notifier.post(move |notifier| notifier.notify(name, text));
        }
    }

    pub(crate) fn present(&self) {
        self.window.present();
    }
}

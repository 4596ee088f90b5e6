//! Two Thrift services at one address, on the loop that the user chooses.
//!
//! ```sh
//! thrift-multiplexed --thrift-port 9090 --thrift-loop glib
//! ```
//!
//! Thrift's compiler generated `house.rs` from `house.thrift`. The handlers share their state in an `Rc`: the processor
//! is created on the loop's thread, and stays there. Any client works, framed or not, in the binary or the compact
//! protocol; `Door` also answers clients that name no service.

/// The code that Thrift's compiler generated, which includes clients.
#[allow(clippy::all, reason = "generated")]
pub mod house;

use std::{cell::RefCell, rc::Rc};

use house::{BellSyncHandler, BellSyncProcessor, DoorSyncHandler, DoorSyncProcessor, NobodyThere};
use interloop::{Service, Thread};
use interloop_glib::Glib;
use interloop_thrift::{Multiplexed, ThriftServer};
use interloop_tokio::Tokio;
use thrift::server::TProcessor;

#[derive(Default)]
struct House {
    entered: i32,
    guests: Vec<String>,
    rung: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<House>>);

impl DoorSyncHandler for Shared {
    fn handle_enter(&self, name: String) -> thrift::Result<i32> {
        let mut house = self.0.borrow_mut();
        log::info!("{name} comes in");
        house.guests.push(name);
        house.entered += 1;
        Ok(house.entered)
    }

    fn handle_leave(&self, name: String) -> thrift::Result<()> {
        let guests = &mut self.0.borrow_mut().guests;
        match guests.iter().position(|guest| *guest == name) {
            Some(place) => drop(guests.remove(place)),
            None => return Err(NobodyThere::new(name).into()),
        }
        Ok(())
    }

    fn handle_guests(&self) -> thrift::Result<Vec<String>> {
        Ok(self.0.borrow().guests.clone())
    }
}

impl BellSyncHandler for Shared {
    fn handle_ring(&self, name: String) -> thrift::Result<()> {
        log::info!("{name} rings");
        self.0.borrow_mut().rung.insert(0, name);
        Ok(())
    }

    fn handle_rung(&self) -> thrift::Result<Vec<String>> {
        Ok(self.0.borrow().rung.clone())
    }
}

fn house() -> impl TProcessor {
    let house = Shared::default();
    Multiplexed::local()
        .default_service("Door", DoorSyncProcessor::new(house.clone()))
        .service("Bell", BellSyncProcessor::new(house))
}

/// Returns the service, not started yet.
pub fn service() -> Service {
    let mut service = Service::new("thrift-multiplexed");
    service.task_any::<(Thread, Tokio, Glib)>("thrift", ThriftServer::with(house));
    service
}

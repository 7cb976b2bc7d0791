//! A table whose places are used again, with identities that are not.

use crate::TaskId;

/// Values by [`TaskId`]: constant-time insert, look-up and removal, no hashing.
#[derive(Debug)]
pub(crate) struct TaskTable<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> TaskTable<T> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, make: impl FnOnce(TaskId) -> T) -> TaskId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let slot = &mut self.places[place as usize];
        let id = TaskId::new(place, slot.0);
        slot.1 = Some(make(id));
        id
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<&T> {
        let (generation, value) = self.places.get(id.place())?;
        if TaskId::new(id.place() as u32, *generation) == id {
            value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut T> {
        let (generation, value) = self.places.get_mut(id.place())?;
        if TaskId::new(id.place() as u32, *generation) == id {
            value.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn remove(&mut self, id: TaskId) -> Option<T> {
        self.get(id)?;
        let slot = &mut self.places[id.place()];
        slot.0 = slot.0.wrapping_add(1);
        self.free.push(id.place() as u32);
        slot.1.take()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|(_, v)| v.as_ref())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TaskId, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(place, (generation, value))| {
                Some((TaskId::new(place as u32, *generation), value.as_ref()?))
            })
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

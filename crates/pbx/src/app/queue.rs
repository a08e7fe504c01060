//! Callers who wait for agents.

use crate::control::{ExtensionState, LegId, Sound};
use crate::plan::{Queue, QueueOrder};

use super::call::{Call, Queued, State, Talking, Target, TimerKind};
use super::codec::fields;
use super::end::cause;
use super::legs::{prompt, prompts};
use super::steps::Flow;
use super::{Round, Switchboard};

fields! {
    /// What is known of an agent, in all queues.
    pub(crate) struct Agent {
        /// The queues that the agent has logged in to.
        1 queues: Vec<String>,
        /// Not called before then.
        2 free_unix_ms: u64,
        3 last_call_unix_ms: u64,
        4 calls: u32,
        /// The call that the agent is rung for, or talks in.
        5 call: Option<u64>,
    }
}

impl Switchboard {
    /// `login`, `logout`.
    pub(crate) fn agent_step(
        &mut self,
        call: &mut Call,
        is_login: bool,
        queue: Option<&str>,
        round: &mut Round<'_>,
    ) -> Flow {
        let user = call
            .leg(call.main)
            .map(|leg| leg.user.clone())
            .unwrap_or_default();
        let names = |queue: &Queue| {
            let number = self.plan.extension(&user).map(|one| one.number.clone());
            queue
                .agents
                .iter()
                .any(|agent| *agent == user || Some(agent) == number.as_ref())
        };
        let queues: Vec<String> = self
            .plan
            .queues
            .values()
            .filter(|one| queue.is_none_or(|name| one.name == name))
            .filter(|one| names(one))
            .map(|one| one.name.clone())
            .collect();
        if queues.is_empty() {
            return self.say_and_go_on(call, prompts(&["agent/none"]), round);
        }
        for name in queues {
            let agent = self.agent_name(&name, &user);
            let known = self.agents.entry(agent.clone()).or_default();
            known.queues.retain(|one| *one != name);
            if is_login {
                known.queues.push(name.clone());
            }
            self.changed_agents.insert(agent);
            self.to_serve.insert(name);
        }
        let word = if is_login { "agent/in" } else { "agent/out" };
        self.say_and_go_on(call, prompts(&[word]), round)
    }

    /// An agent is known by the name that the queue has for it: a user or an extension.
    fn agent_name(&self, queue: &str, user: &str) -> String {
        let is_listed = |name: &str| {
            let queue = self.plan.queues.get(queue);
            queue.is_some_and(|queue| queue.agents.iter().any(|one| one == name))
        };
        let number = self.plan.extension(user).map(|one| one.number.clone());
        number
            .filter(|number| !is_listed(user) && is_listed(number))
            .unwrap_or_else(|| user.to_owned())
    }

    pub(crate) fn join_queue(
        &mut self,
        call: &mut Call,
        name: &str,
        round: &mut Round<'_>,
    ) -> Flow {
        let plan = self.plan.clone();
        let Some(queue) = plan.queues.get(name) else {
            return self.say_and_go_on(call, prompts(&["sorry"]), round);
        };
        let waiting = self.waiting.get(name).map_or(0, Vec::len);
        let is_staffed = queue.agents.iter().any(|agent| self.is_in(queue, agent));
        if waiting >= queue.callers_max || !queue.join_empty && !is_staffed {
            call.note(format!("no place in queue {name}"));
            call.program.clone_from(&queue.overflow);
            return Flow::Next;
        }
        self.answer(call, round);
        call.enter(State::Queued(Queued {
            queue: name.to_owned(),
            joined_unix_ms: round.unix_ms,
            ringing: Vec::new(),
            is_welcomed: queue.welcome.is_empty(),
        }));
        self.waiting
            .entry(name.to_owned())
            .or_default()
            .push(call.id);
        if queue.wait_max_ms > 0 {
            call.set_timer(
                TimerKind::Wait,
                round.unix_ms + u64::from(queue.wait_max_ms),
            );
        }
        if queue.announce_ms > 0 {
            call.set_timer(
                TimerKind::Position,
                round.unix_ms + u64::from(queue.announce_ms),
            );
        }
        if queue.welcome.is_empty() {
            self.music(call, call.main, &queue.music, round);
        } else {
            let sounds = self.sounds(call, &queue.welcome);
            self.play(call, call.main, sounds, false, false, round);
        }
        self.to_serve.insert(name.to_owned());
        Flow::Wait
    }

    fn is_in(&self, queue: &Queue, agent: &str) -> bool {
        queue.always_in
            || self
                .agents
                .get(agent)
                .is_some_and(|agent| agent.queues.contains(&queue.name))
    }

    /// The welcome or the position has been heard: music again.
    pub(crate) fn queue_played(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Queued(queued) = &mut call.state else {
            return;
        };
        queued.is_welcomed = true;
        let name = queued.queue.clone();
        let music = self.plan.queues.get(&name).map(|queue| queue.music.clone());
        self.music(
            call,
            call.main,
            music.as_deref().unwrap_or("default"),
            round,
        );
        self.to_serve.insert(name);
    }

    pub(crate) fn tell_position(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Queued(queued) = &call.state else {
            return;
        };
        let (name, is_welcomed) = (queued.queue.clone(), queued.is_welcomed);
        let announce_ms = self
            .plan
            .queues
            .get(&name)
            .map_or(0, |queue| queue.announce_ms);
        if announce_ms > 0 {
            call.set_timer(TimerKind::Position, round.unix_ms + u64::from(announce_ms));
        }
        let waiting = self.waiting.get(&name);
        let at = waiting.and_then(|waiting| waiting.iter().position(|id| *id == call.id));
        let Some(at) = at.filter(|_| is_welcomed) else {
            return;
        };
        let sounds = match at {
            0 => prompts(&["queue/next"]),
            at => vec![prompt("queue/position"), Sound::Number(at as u64 + 1)],
        };
        self.play(call, call.main, sounds, false, false, round);
    }

    pub(crate) fn waited_too_long(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Queued(queued) = &call.state else {
            return;
        };
        let queue = self
            .plan
            .queues
            .get(&queued.queue)
            .cloned()
            .unwrap_or_default();
        call.note(format!("waited too long in {}", queue.name));
        self.leave_tables(call, round);
        self.hush(call, call.main, round);
        call.program = queue.overflow;
        self.run(call, round);
    }

    /// Takes the call out of its queue; agents stop ringing.
    pub(crate) fn leave_queue(&mut self, call: &mut Call, queued: &Queued, round: &mut Round<'_>) {
        if let Some(waiting) = self.waiting.get_mut(&queued.queue) {
            waiting.retain(|id| *id != call.id);
            if waiting.is_empty() {
                self.waiting.remove(&queued.queue);
            }
        }
        for (leg, agent) in &queued.ringing {
            self.hang_up(call, *leg, cause(200), round);
            self.free_agent(call.id, agent, 0, round);
        }
        self.to_serve.insert(queued.queue.clone());
    }

    /// The agent has no more to do with the call; after one that was talked there is peace for a while.
    pub(crate) fn free_agent(
        &mut self,
        call: u64,
        agent: &str,
        wrap_up_ms: u32,
        round: &mut Round<'_>,
    ) {
        let Some(known) = self.agents.get_mut(agent) else {
            return;
        };
        if known.call != Some(call) {
            return;
        }
        known.call = None;
        let until = round.unix_ms + u64::from(wrap_up_ms);
        known.free_unix_ms = known.free_unix_ms.max(until);
        self.changed_agents.insert(agent.to_owned());
        self.phone_is_free(agent);
    }

    /// The agent who talked in a call from a queue is done with it.
    pub(crate) fn free_talker(&mut self, call: u64, talking: &Talking, round: &mut Round<'_>) {
        let queue = self.plan.queues.get(&talking.queue);
        let wrap_up_ms = queue.map_or(0, |queue| queue.wrap_up_ms);
        self.free_agent(call, &talking.agent, wrap_up_ms, round);
    }

    /// Queues in which this user, or the extension, is an agent may go on.
    pub(crate) fn phone_is_free(&mut self, user: &str) {
        let number = self.plan.extension(user).map(|one| one.number.as_str());
        for name in self.waiting.keys() {
            let agents = self.plan.queues.get(name).map(|queue| &queue.agents);
            let is_agent = agents.is_some_and(|agents| {
                agents
                    .iter()
                    .any(|agent| agent == user || Some(agent.as_str()) == number)
            });
            if is_agent {
                self.to_serve.insert(name.clone());
            }
        }
    }

    /// Agents who can be called now, those first whose turn it is; and when the next of the others can be.
    fn free_agents(&self, queue: &Queue, round: &Round<'_>) -> (Vec<String>, Option<u64>) {
        let mut free: Vec<(usize, String, Agent)> = Vec::new();
        let mut next: Option<u64> = None;
        for (at, name) in queue.agents.iter().enumerate() {
            if !self.is_in(queue, name) {
                continue;
            }
            let agent = self.agents.get(name).cloned().unwrap_or_default();
            let phones = self.plan.extension(name).map(|one| one.phones.clone());
            let phones = phones.unwrap_or_else(|| vec![name.clone()]);
            let is_busy = phones
                .iter()
                .any(|user| self.presence.state(user) != ExtensionState::Idle);
            if agent.call.is_some() || is_busy {
                continue;
            }
            if agent.free_unix_ms > round.unix_ms {
                let at = agent.free_unix_ms;
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            free.push((at, name.clone(), agent));
        }
        match queue.order {
            QueueOrder::All | QueueOrder::InOrder => {}
            QueueOrder::LeastRecent => {
                free.sort_by_key(|(at, _, agent)| (agent.last_call_unix_ms, *at));
            }
            QueueOrder::FewestCalls => free.sort_by_key(|(at, _, agent)| (agent.calls, *at)),
            QueueOrder::Rotary => {
                // After the one who was called last.
                let last = free
                    .iter()
                    .max_by_key(|(_, _, agent)| agent.last_call_unix_ms);
                let from = last
                    .filter(|(_, _, agent)| agent.last_call_unix_ms > 0)
                    .map_or(0, |(at, ..)| at + 1);
                free.sort_by_key(|(at, ..)| (*at < from, *at));
            }
        }
        (free.into_iter().map(|(_, name, _)| name).collect(), next)
    }

    /// Rings agents for those who wait.
    pub(crate) fn serve_queues(&mut self, round: &mut Round<'_>) {
        while let Some(name) = self.to_serve.pop_first() {
            let plan = self.plan.clone();
            let Some(queue) = plan.queues.get(&name) else {
                continue;
            };
            for id in self.waiting.get(&name).cloned().unwrap_or_default() {
                let (free, next) = self.free_agents(queue, round);
                self.with(id, round, |board, call, round| {
                    board.ring_agents(call, queue, free, next, round);
                });
            }
        }
    }

    fn ring_agents(
        &mut self,
        call: &mut Call,
        queue: &Queue,
        free: Vec<String>,
        next: Option<u64>,
        round: &mut Round<'_>,
    ) {
        let State::Queued(queued) = &call.state else {
            return;
        };
        if !queued.ringing.is_empty() || !queued.is_welcomed {
            return;
        }
        let count = if queue.order == QueueOrder::All {
            free.len()
        } else {
            1
        };
        for agent in free.into_iter().take(count) {
            self.ring_agent(call, &agent, round);
        }
        match &call.state {
            State::Queued(queued) if !queued.ringing.is_empty() => {
                call.set_timer(TimerKind::Agents, round.unix_ms + u64::from(queue.ring_ms));
            }
            _ => {
                call.clear_timer(&TimerKind::Agents);
                if let Some(next) = next {
                    call.set_timer(TimerKind::Agents, next);
                }
            }
        }
    }

    fn ring_agent(&mut self, call: &mut Call, agent: &str, round: &mut Round<'_>) {
        let phones = self.plan.extension(agent).map(|one| one.phones.clone());
        for phone in phones.unwrap_or_else(|| vec![agent.to_owned()]) {
            let Some(leg) = self.dial(call, &Target::of(phone), None, false, round) else {
                return;
            };
            if let State::Queued(queued) = &mut call.state {
                queued.ringing.push((leg, agent.to_owned()));
            }
            let known = self.agents.entry(agent.to_owned()).or_default();
            known.call = Some(call.id);
            self.changed_agents.insert(agent.to_owned());
        }
    }

    pub(crate) fn agent_answered(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let State::Queued(queued) = call.state.clone() else {
            return;
        };
        let agent = queued.ringing.iter().find(|(one, _)| *one == leg);
        let agent = agent.map(|(_, agent)| agent.clone()).unwrap_or_default();
        let rest = queued
            .ringing
            .iter()
            .filter(|(one, _)| *one != leg)
            .cloned();
        let others = Queued {
            ringing: rest.collect(),
            ..queued.clone()
        };
        self.leave_queue(call, &others, round);
        let known = self.agents.entry(agent.clone()).or_default();
        known.calls += 1;
        known.last_call_unix_ms = round.unix_ms;
        known.call = Some(call.id);
        self.changed_agents.insert(agent.clone());
        call.state = State::Running;
        self.connect(call, leg, round);
        call.note(format!(
            "queue {} after {} ms",
            queued.queue,
            round.unix_ms.saturating_sub(queued.joined_unix_ms)
        ));
        if let State::Talking(talking) = &mut call.state {
            *talking = Talking {
                peer: leg,
                agent,
                queue: queued.queue,
            };
        }
    }

    /// An agent's phone came to nothing.
    pub(crate) fn agent_failed(&mut self, call: &mut Call, leg: LegId, round: &mut Round<'_>) {
        let State::Queued(queued) = &mut call.state else {
            return;
        };
        let Some(at) = queued.ringing.iter().position(|(one, _)| *one == leg) else {
            return;
        };
        let (_, agent) = queued.ringing.remove(at);
        if !queued.ringing.iter().any(|(_, one)| *one == agent) {
            let queue = queued.queue.clone();
            self.rest_agent(call.id, &agent, &queue, round);
        }
    }

    fn rest_agent(&mut self, call: u64, agent: &str, queue: &str, round: &mut Round<'_>) {
        let retry_ms = self
            .plan
            .queues
            .get(queue)
            .map_or(5_000, |queue| queue.retry_ms);
        if let Some(known) = self.agents.get_mut(agent) {
            known.free_unix_ms = round.unix_ms + u64::from(retry_ms).max(1);
            // The next one has a turn before this one.
            known.last_call_unix_ms = round.unix_ms;
        }
        self.free_agent(call, agent, 0, round);
    }

    /// Agents did not answer in time; or one is free again.
    pub(crate) fn agents_timeout(&mut self, call: &mut Call, round: &mut Round<'_>) {
        let State::Queued(queued) = &mut call.state else {
            return;
        };
        let ringing = std::mem::take(&mut queued.ringing);
        let queue = queued.queue.clone();
        for (leg, agent) in ringing {
            self.hang_up(call, leg, cause(408), round);
            self.rest_agent(call.id, &agent, &queue, round);
        }
        self.to_serve.insert(queue);
    }

    /// Callers in a queue, and agents who are there.
    pub fn queue_counts(&self, name: &str) -> Option<(usize, usize)> {
        let queue = self.plan.queues.get(name)?;
        let agents = queue.agents.iter().filter(|agent| self.is_in(queue, agent));
        Some((self.waiting.get(name).map_or(0, Vec::len), agents.count()))
    }
}

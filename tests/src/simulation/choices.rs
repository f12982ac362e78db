//! Where every choice of a run comes from: a seed, or the list of choices of an earlier run.
//!
//! Whoever asks puts the dull answer first: 0 is "no fault" and "go on". A list that is at its end answers 0 for ever, so any
//! list is a whole run, and making it shorter or its numbers smaller makes the run simpler. Next room: `shrink`.

/// Answers questions, and remembers its answers.
pub(super) struct Choices {
    random: u64,
    script: Option<Vec<u8>>,
    made: Vec<u8>,
}

impl Choices {
    /// All choices follow from the seed.
    pub(super) fn from_seed(seed: u64) -> Choices {
        // Neighbouring seeds must not begin alike.
        let random = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut choices = Choices { random, script: None, made: Vec::with_capacity(4096) };
        for _ in 0..4 {
            choices.next_random();
        }
        choices
    }

    /// The choices of an earlier run, or what was made of them.
    pub(super) fn from_script(script: Vec<u8>) -> Choices {
        Choices { random: 1, script: Some(script), made: Vec::with_capacity(4096) }
    }

    /// All answers so far.
    pub(super) fn into_made(self) -> Vec<u8> {
        self.made
    }

    /// A number below `limit`, which is at least 1 and at most 256.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        if limit <= 1 {
            return 0;
        }
        let answer = match &self.script {
            Some(script) => script.get(self.made.len()).map_or(0, |answer| *answer as usize % limit),
            None => ((self.next_random() >> 33) as usize * limit) >> 31,
        };
        self.made.push(answer as u8);
        answer
    }

    /// Whether something that happens so many times in a thousand happens now.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        let answer = match &self.script {
            Some(script) => script.get(self.made.len()).is_some_and(|answer| *answer != 0),
            None => (self.next_random() >> 33) % 1000 < per_mille,
        };
        self.made.push(u8::from(answer));
        answer
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

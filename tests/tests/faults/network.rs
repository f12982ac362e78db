//! Rows about the network to the broker: requests and answers that are lost, held back, or slow.
//!
//! The host reaches the broker through a proxy that understands Kafka's frames; the judge does not. Next room: `broker`.

use crate::matrix::Row;
use crate::{PROGRAM, old_broker};
use std::time::Duration;
use tidegate_tests::broker::{self, Broker};
use tidegate_tests::judge::wait_until;
use tidegate_tests::payments::{Options, Payments};
use tidegate_tests::proxy::{ApiKey, Chance, Fault, Rule};

pub(crate) const ROWS: &[Row] = &[
    Row::quick("InitProducerId cut off", CUT, EXACT, || cut(ApiKey::INIT_PRODUCER_ID)),
    Row::quick("AddPartitionsToTxn cut off", CUT, EXACT, || cut(ApiKey::ADD_PARTITIONS_TO_TXN)),
    Row::quick("Produce cut off", CUT, EXACT, || cut(ApiKey::PRODUCE)),
    Row::quick("EndTxn cut off", CUT, EXACT, || cut(ApiKey::END_TXN)),
    Row::slow("InitProducerId held back", HELD, FENCED, || held(ApiKey::INIT_PRODUCER_ID, broker::shared())),
    Row::slow("AddPartitionsToTxn held back", HELD, NOTHING, || held(ApiKey::ADD_PARTITIONS_TO_TXN, broker::shared())),
    Row::slow("Produce held back", HELD, NOTHING, || held(ApiKey::PRODUCE, broker::shared())),
    Row::slow("EndTxn held back", HELD, NOTHING, || held(ApiKey::END_TXN, broker::shared())),
    Row::slow("EndTxn held back, SIGKILL in n+1", HELD_KILLED, NOTHING, || held_and_killed(broker::shared())),
    Row::slow("InitProducerId held back, transaction.version 0", HELD, FENCED, || {
        held(ApiKey::INIT_PRODUCER_ID, old_broker());
    }),
    Row::slow("AddPartitionsToTxn held back, transaction.version 0", HELD, NOTHING, || {
        held(ApiKey::ADD_PARTITIONS_TO_TXN, old_broker());
    }),
    Row::slow("Produce held back, transaction.version 0", HELD, NOTHING, || held(ApiKey::PRODUCE, old_broker())),
    Row::slow("EndTxn held back, transaction.version 0", HELD, NOTHING, || held(ApiKey::END_TXN, old_broker())),
    Row::slow("EndTxn held back, SIGKILL in n+1, transaction.version 0", HELD_KILLED, NOTHING, || {
        held_and_killed(old_broker());
    }),
    Row::quick(
        "EndTxn held back without rotation",
        "the same with the replacement of doubtful producers switched off (`TIDEGATE_ROTATION=never`, in tests only)",
        "records are doubled: the rows above can fail",
        without_rotation,
    ),
    Row::slow(
        "slow network",
        "every request takes 30 ms longer, those for records too",
        "exact, by the same process",
        slow_network,
    ),
];

const CUT: &str =
    "the connection is cut after the request and before the broker has it, twice, then before its answer, twice";
const EXACT: &str = "exact; where the process ends, it ends with 75";
const HELD: &str = "the request of checkpoint n is held back, the client cut off; it is delivered when the output of n+1 is with the broker";
const HELD_KILLED: &str = "the same, and then the host is killed, so that the marker says that n+1 did not happen";
const NOTHING: &str = "nothing becomes visible by it; exact";
const FENCED: &str = "it fences the producer: 75, and the next start is exact";

fn through(judge: &Broker, address: String) -> Payments<'_> {
    Payments::new(judge, &Options::fed(PROGRAM, address))
}

fn cut(api: ApiKey) {
    let broker = broker::shared();
    let proxy = broker.proxy();
    let payments = through(broker, proxy.address());
    let skip = if api == ApiKey::INIT_PRODUCER_ID { 0 } else { 2 };
    proxy.rule(Rule { api, skip, times: 2, fault: Fault::CutBefore });
    proxy.rule(Rule { api, skip: 0, times: 2, fault: Fault::CutAfter });
    payments.feed(500);
    let mut running = payments.scene.start(None, &[]);
    loop {
        (running, _) = payments.supervise(running);
        if proxy.hits().len() == 4 {
            break;
        }
        payments.feed(500);
    }
    payments.finish(running, "after the cuts");
}

/// Runs checkpoint 1 with a request held back, and stops the host when the output of checkpoint 2 is with the broker.
fn hold(payments: &Payments<'_>, proxy: &tidegate_tests::proxy::Proxy, api: ApiKey) -> tidegate_tests::scene::Running {
    let is_init = api == ApiKey::INIT_PRODUCER_ID;
    payments.feed(3000);
    if is_init {
        proxy.next(api, Fault::HoldAndCut);
    }
    let mut running = payments.scene.start_and_stop("started:1,decided:1,flushed:2");
    running.wait_stopped();
    if !is_init {
        proxy.next(api, Fault::HoldAndCut);
    }
    running.go_on();
    running.wait_stopped();
    payments.feed(3000);
    running.go_on();
    running.wait_stopped();
    assert!(proxy.wait_held(Duration::ZERO), "the request was not held back");
    running
}

fn held(api: ApiKey, broker: &Broker) {
    let proxy = broker.proxy();
    let payments = through(broker, proxy.address());
    let running = hold(&payments, &proxy, api);
    let (written, visible) = (payments.counts_written(), payments.counts_visible());
    assert!(written > visible, "nothing of n+1 is with the broker: this tests nothing");
    let answer = proxy.deliver();
    assert_eq!((payments.counts_written(), payments.counts_visible()), (written, visible), "{answer:?}");
    running.go_on();
    let (running, starts) = payments.supervise(running);
    assert_eq!(starts > 0, api == ApiKey::INIT_PRODUCER_ID, "{starts} new starts\n{}", running.log());
    payments.finish(running, "after the delivery");
}

fn held_and_killed(broker: &Broker) {
    let proxy = broker.proxy();
    let payments = through(broker, proxy.address());
    let running = hold(&payments, &proxy, ApiKey::END_TXN);
    let visible = payments.counts_visible();
    let answer = proxy.deliver();
    assert_eq!(payments.counts_visible(), visible, "{answer:?}");
    running.signal(libc::SIGKILL);
    assert!(running.wait().was_killed());
    payments.restart_and_finish("after the delivery and the kill");
}

fn without_rotation() {
    let broker = broker::shared();
    let proxy = broker.proxy();
    let mut payments = through(broker, proxy.address());
    payments.scene.set_variable("TIDEGATE_ROTATION", Some("never".into()));
    let running = hold(&payments, &proxy, ApiKey::END_TXN);
    let visible = payments.counts_visible();
    proxy.deliver();
    wait_until("half of n+1 is visible", || payments.counts_visible() > visible);
    running.signal(libc::SIGKILL);
    assert!(running.wait().was_killed());
    let mut running = payments.scene.start(None, &[]);
    payments.wait_counted(&mut running);
    running.wait_until("the doubled counts", |_| payments.counts_doubled() > 0);
}

fn slow_network() {
    let broker = broker::shared();
    let proxy = broker.proxy();
    let payments = through(broker, proxy.address());
    let apis = [
        ApiKey::PRODUCE,
        ApiKey::FETCH,
        ApiKey::LIST_OFFSETS,
        ApiKey::METADATA,
        ApiKey::INIT_PRODUCER_ID,
        ApiKey::ADD_PARTITIONS_TO_TXN,
        ApiKey::END_TXN,
    ];
    for api in apis {
        proxy.chance(1, Chance { api, per_million: 1_000_000, fault: Fault::Slow(Duration::from_millis(30)) });
    }
    payments.feed(5000);
    let mut running = payments.scene.start(None, &[]);
    for _ in 0..5 {
        payments.wait_counted(&mut running);
        payments.feed(1000);
    }
    payments.finish(running, "through a slow network");
}

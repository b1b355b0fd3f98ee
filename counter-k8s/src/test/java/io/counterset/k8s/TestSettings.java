// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.function.BooleanSupplier;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;

/** Settings for tests, with methods that change one value each. */
record TestSettings(
        List<String> addresses,
        @Nullable Integer expected,
        Duration timeout,
        Duration deadline,
        int concurrency,
        Duration lossShown,
        Path directory) {

    /** The default timeouts suit a busy machine, so that only peers that a test delays are late. */
    static TestSettings list(String... addresses) {
        return new TestSettings(
                List.of(addresses),
                null,
                Duration.ofSeconds(20),
                Duration.ofSeconds(30),
                64,
                Duration.ofDays(7),
                Path.of("not set"));
    }

    TestSettings expected(int number) {
        return new TestSettings(addresses, number, timeout, deadline, concurrency, lossShown, directory);
    }

    TestSettings timeout(Duration time) {
        return new TestSettings(addresses, expected, time, deadline, concurrency, lossShown, directory);
    }

    TestSettings deadline(Duration time) {
        return new TestSettings(addresses, expected, timeout, time, concurrency, lossShown, directory);
    }

    TestSettings concurrency(int number) {
        return new TestSettings(addresses, expected, timeout, deadline, number, lossShown, directory);
    }

    TestSettings lossShown(Duration time) {
        return new TestSettings(addresses, expected, timeout, deadline, concurrency, time, directory);
    }

    TestSettings in(Path folder) {
        return new TestSettings(addresses, expected, timeout, deadline, concurrency, lossShown, folder);
    }

    PeersSettings settings() {
        return new PeersSettings(
                PeersSettings.Choice.STATIC,
                addresses,
                null,
                null,
                expected,
                timeout,
                deadline,
                concurrency,
                Duration.ZERO,
                lossShown,
                directory);
    }

    /** Opens peers from the list, without a minimum interval between rounds. */
    Peers open(Replica replica) {
        return openWithInterval(replica, Duration.ZERO);
    }

    Peers openWithInterval(Replica replica, Duration interval) {
        return open(replica, new StaticSource(settings(), replica.port(), null), InstantSource.system(), interval);
    }

    Peers open(Replica replica, PeerSource source, InstantSource clock, Duration interval) {
        Peers peers = new Peers(replica, settings(), source, PeerAccess.OPEN, LoopbackPeer.JSON, clock, interval);
        peers.start();
        return peers;
    }

    static void await(BooleanSupplier condition) {
        await(Duration.ofSeconds(60), condition);
    }

    /** What is promised within 5 s; another second is for a busy machine. */
    static void awaitWithinFiveSeconds(BooleanSupplier condition) {
        await(Duration.ofSeconds(6), condition);
    }

    private static void await(Duration time, BooleanSupplier condition) {
        Awaitility.await().atMost(time).pollInterval(Duration.ofMillis(2)).until(condition::getAsBoolean);
    }
}

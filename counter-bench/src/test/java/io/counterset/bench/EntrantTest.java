// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A rate is only meaningful if every increment is counted. */
class EntrantTest {

    private static final int THREADS = 4;
    private static final int EACH = 25;

    @ParameterizedTest
    @EnumSource
    void countsEveryIncrementOfEveryThread(Entrant entrant, @TempDir Path directory) throws Exception {
        assumeThat(entrant.isPresent()).as("%s is on this machine", entrant).isTrue();
        try (Contender contender = entrant.open(directory, Duration.ofNanos(1000))) {
            assertThat(contender.count()).isZero();
            Thread[] threads = Stream.generate(() -> new Thread(() -> incrementRepeatedly(contender)))
                    .limit(THREADS)
                    .toArray(Thread[]::new);
            for (Thread thread : threads) {
                thread.start();
            }
            for (Thread thread : threads) {
                thread.join(Duration.ofSeconds(60).toMillis());
            }
            assertThat(contender.count()).isEqualTo(THREADS * EACH);
        }
    }

    private static void incrementRepeatedly(Contender contender) {
        try {
            for (int i = 0; i < EACH; i++) {
                contender.increment();
            }
        } catch (Exception e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void loadCountsTheWorkOfItsThreads() throws Exception {
        LongAdder done = new LongAdder();
        Load.Result result = Load.run(
                Thread::new, THREADS, Duration.ofMillis(10), Duration.ofMillis(50), thread -> done.increment());
        assertThat(result.total()).isEqualTo(done.sum());
        assertThat(result.perSecond()).isPositive();
    }
}

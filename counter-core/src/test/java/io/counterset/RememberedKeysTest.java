// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

class RememberedKeysTest {

    private static long bytesOf(RememberedKeys keys) {
        return keys.list().stream()
                .mapToLong(entry -> Batch.keyLength(entry.keyLength()))
                .sum();
    }

    @Test
    void bytesAreTheSumOverAllRememberedKeys() {
        AtomicLong nanos = new AtomicLong();
        RememberedKeys keys = new RememberedKeys(new IdempotencyWindow(20, Duration.ofSeconds(10)));
        keys.start(0, nanos::get);
        Counter counter = new Counter("c", 1, 1);
        SplittableRandom random = new SplittableRandom(1);
        boolean expired = false;
        for (int i = 0; i < 2000; i++) {
            long now = keys.advance();
            String key = "k".repeat(1 + random.nextInt(100));
            long before = keys.bytes();
            long growth = keys.find(key) == null ? keys.growth(key.length()) : 0;
            keys.put(new RememberedKeys.Entry(key, key.length(), counter, 1, 1, now));
            assertThat(keys.bytes()).isEqualTo(before + growth).isEqualTo(bytesOf(keys));
            nanos.addAndGet(random.nextLong(random.nextInt(10) == 0 ? 12_000_000_000L : 400_000_000L));
            int size = keys.size();
            keys.advance();
            expired |= keys.size() < size;
            assertThat(keys.bytes()).isEqualTo(bytesOf(keys));
            assertThat(keys.size()).isLessThanOrEqualTo(20);
        }
        assertThat(expired).isTrue();
    }
}

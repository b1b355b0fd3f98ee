// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.core.async.publisher.Publishers;
import io.micronaut.health.HealthStatus;
import io.micronaut.management.health.indicator.HealthIndicator;
import io.micronaut.management.health.indicator.HealthResult;
import io.micronaut.management.health.indicator.annotation.Liveness;
import jakarta.inject.Singleton;
import java.lang.management.ManagementFactory;
import org.reactivestreams.Publisher;

/**
 * Up unless threads are deadlocked. It replaces the framework's indicator, which uses a thread for
 * each request, and anyone may send those. It checks at most once a second.
 */
@Singleton
@Liveness
final class DeadlockHealth implements HealthIndicator {

    private static final long INTERVAL_NANOS = 1_000_000_000;

    private long looked = System.nanoTime() - INTERVAL_NANOS; // guarded by this
    private boolean deadlocked; // guarded by this

    @Override
    public Publisher<HealthResult> getResult() {
        return Publishers.just(
                HealthResult.builder("deadlockedThreads", isDeadlocked() ? HealthStatus.DOWN : HealthStatus.UP)
                        .build());
    }

    private synchronized boolean isDeadlocked() {
        long now = System.nanoTime();
        if (now - looked >= INTERVAL_NANOS) {
            looked = now;
            deadlocked = ManagementFactory.getThreadMXBean().findDeadlockedThreads() != null;
        }
        return deadlocked;
    }
}

// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.CounterStore;
import io.micronaut.core.async.publisher.Publishers;
import io.micronaut.health.HealthStatus;
import io.micronaut.management.health.indicator.HealthIndicator;
import io.micronaut.management.health.indicator.HealthResult;
import io.micronaut.management.health.indicator.annotation.Readiness;
import jakarta.inject.Singleton;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import org.reactivestreams.Publisher;

/**
 * Up while the store accepts increments and the process is not stopping. A replica that is not
 * ready still serves its counts.
 */
@Singleton
@Readiness
final class StoreHealth implements HealthIndicator {

    /** A commit that takes longer waits for a disk that may be stuck. */
    private static final Duration SLOW = Duration.ofSeconds(1);

    private final CounterStore store;
    private final Connections connections;

    StoreHealth(CounterStore store, Connections connections) {
        this.connections = connections;
        this.store = store;
    }

    @Override
    public Publisher<HealthResult> getResult() {
        boolean accepting = store.isAccepting() && !connections.isDraining();
        Map<String, Object> details = new LinkedHashMap<>();
        details.put("accepting", accepting);
        if (!accepting) {
            details.put("reason", reason());
        }
        Duration commit = store.statistics().commitUnderWay();
        if (commit.compareTo(SLOW) > 0) {
            details.put("commitUnderWay", commit.toSeconds() + " s");
        }
        details.put("store", store.identity().id());
        details.put("incarnation", store.identity().incarnation());
        details.put("durability", store.durability().toString());
        return Publishers.just(HealthResult.builder("store", accepting ? HealthStatus.UP : HealthStatus.DOWN)
                .details(details)
                .build());
    }

    private String reason() {
        if (store.failure().isPresent()) {
            return "the disk failed; the log says how, and only a restart opens the store again";
        }
        return connections.isDraining()
                ? "the replica is stopping"
                : "no space left for the journal; increments are accepted again once there is space";
    }
}

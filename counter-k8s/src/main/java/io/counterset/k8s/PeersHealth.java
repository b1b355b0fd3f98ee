// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.micronaut.context.annotation.Requires;
import io.micronaut.core.async.publisher.Publishers;
import io.micronaut.health.HealthStatus;
import io.micronaut.management.health.indicator.HealthIndicator;
import io.micronaut.management.health.indicator.HealthResult;
import jakarta.inject.Singleton;
import java.util.LinkedHashMap;
import java.util.Map;
import org.reactivestreams.Publisher;

/**
 * Adds the latest report to the details of {@code /health} and {@code /health/readiness}. The
 * status is always up, because a replica that cannot reach its peers still counts. A health check
 * does not contact peers.
 */
@Singleton
@Requires(classes = HealthIndicator.class, beans = Peers.class)
final class PeersHealth implements HealthIndicator {

    private final Peers peers;

    PeersHealth(Peers peers) {
        this.peers = peers;
    }

    @Override
    public Publisher<HealthResult> getResult() {
        return Publishers.just(HealthResult.builder("peers", HealthStatus.UP)
                .details(peers.latest().map(PeersHealth::details).orElse(Map.of("report", "none yet")))
                .build());
    }

    private static Map<String, Object> details(PeersReport report) {
        Map<String, Object> details = new LinkedHashMap<>();
        details.put("report", report.headline());
        details.put("at", report.at().toString());
        details.put("complete", report.complete());
        details.put("expected", report.expected());
        details.put("answered", report.answered());
        details.put("source", report.source().kind().toString());
        details.put("sourceState", report.source().state().toString());
        if (report.source().reason() != null) {
            details.put("reason", report.source().reason());
        }
        return details;
    }
}

// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersReport;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.binder.MeterBinder;
import jakarta.inject.Singleton;
import java.time.Duration;
import java.time.Instant;
import java.util.function.ToDoubleFunction;

/**
 * Gauges of the latest report; a scrape never contacts peers. They are NaN until the first report,
 * and once the latest report is stale. The gauge of its age keeps growing.
 */
@Singleton
final class PeersMetrics implements MeterBinder {

    private final Peers peers;

    PeersMetrics(Peers peers) {
        this.peers = peers;
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        Gauge.builder("counterset.peers.expected", this, m -> m.latest(PeersReport::expected))
                .description("Expected number of replicas")
                .register(registry);
        Gauge.builder("counterset.peers.answering", this, m -> m.latest(PeersReport::answered))
                .description("Replicas that answered in the latest report, including this one")
                .register(registry);
        Gauge.builder("counterset.peers.lost", this, m -> m.latest(PeersReport::lost))
                .description("Lower bound of the counts lost with volumes that were replaced or rolled back")
                .register(registry);
        Gauge.builder("counterset.peers.complete", this, m -> m.latest(report -> report.complete() ? 1 : 0))
                .description("Whether the total of the latest report is exact: 1 or 0")
                .register(registry);
        Gauge.builder(
                        "counterset.peers.report.age",
                        peers,
                        p -> p.latest()
                                .map(report -> Math.max(
                                        0,
                                        Duration.between(report.at(), Instant.now())
                                                        .toMillis()
                                                / 1_000.0))
                                .orElse(Double.NaN))
                .baseUnit("seconds")
                .description("How old the latest report is")
                .register(registry);
        for (PeersReport.Freshness freshness : PeersReport.Freshness.values()) {
            Gauge.builder(
                            "counterset.peers.source.state",
                            this,
                            m -> m.latest(report -> report.source().state() == freshness ? 1 : 0))
                    .description("The state of the list of peers: 1 for the current state, 0 for the others")
                    .tag("state", freshness.toString())
                    .register(registry);
        }
        for (PeersReport.State state : PeersReport.State.values()) {
            Gauge.builder(
                            "counterset.peers.state",
                            this,
                            m -> m.latest(report -> report.peers().stream()
                                    .filter(peer -> peer.state() == state)
                                    .count()))
                    .description("Replicas in each state")
                    .tag("state", state.toString())
                    .register(registry);
        }
        FunctionCounter.builder(
                        "counterset.peers.asked", peers, p -> p.statistics().asked())
                .description("Requests to peers")
                .register(registry);
        FunctionCounter.builder(
                        "counterset.peers.failed", peers, p -> p.statistics().failed())
                .description("Peer requests that failed")
                .register(registry);
    }

    private double latest(ToDoubleFunction<PeersReport> figure) {
        return peers.latest()
                .filter(report -> peers.isCurrent())
                .map(figure::applyAsDouble)
                .orElse(Double.NaN);
    }
}

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
 * Gauges of the latest report; a scrape never contacts peers. NaN until the first report, and once the report is old; its age goes
 * on growing.
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
                .description("Replicas that there should be")
                .register(registry);
        Gauge.builder("counterset.peers.answering", this, m -> m.latest(PeersReport::answered))
                .description("Replicas that answered when they were last asked, this one included")
                .register(registry);
        Gauge.builder("counterset.peers.lost", this, m -> m.latest(PeersReport::lost))
                .description("Counted on volumes that were replaced or rolled back, at least")
                .register(registry);
        Gauge.builder("counterset.peers.complete", this, m -> m.latest(report -> report.complete() ? 1 : 0))
                .description("Whether the total of the latest report is the truth: 1 or 0")
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
                    .description("The state of the source of the list of peers: 1 for the present one")
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
                .description("Times a peer was asked")
                .register(registry);
        FunctionCounter.builder(
                        "counterset.peers.failed", peers, p -> p.statistics().failed())
                .description("Times that gave no count")
                .register(registry);
    }

    private double latest(ToDoubleFunction<PeersReport> figure) {
        return peers.latest()
                .filter(report -> peers.isCurrent())
                .map(figure::applyAsDouble)
                .orElse(Double.NaN);
    }
}

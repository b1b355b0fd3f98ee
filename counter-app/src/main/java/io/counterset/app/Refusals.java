package io.counterset.app;

import io.micronaut.http.HttpStatus;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.http.annotation.ResponseFilter;
import io.micronaut.http.annotation.ServerFilter;
import java.util.EnumMap;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Counts requests that were not done, by kind. The log has one line when this replica begins to refuse for a reason of its own, and
 * one when it has not done so for a minute. Thread-safe; does not block.
 */
@ServerFilter(ServerFilter.MATCH_ALL_PATTERN)
final class Refusals {

    private static final int QUIET_SECONDS = 60;
    private static final Logger LOG = LoggerFactory.getLogger(Refusals.class);

    private final Map<Problem.Type, Kind> kinds = new EnumMap<>(Problem.Type.class);
    private final Kind closedConnections = new Kind(
            "too many connections: the longest idle ones are closed for new ones (counter.max-connections)",
            "connections are no longer closed for new ones");
    private final Kind failedAccepts = new Kind(
            "connections cannot be accepted, probably for lack of file descriptors (ulimit -n): idle ones are closed",
            "connections can be accepted again");

    /** How often something happened: one line in the log when it begins, one when it ends. All but the adder belong to the timer. */
    private static final class Kind {
        private final LongAdder count = new LongAdder();
        private final String begins;
        private final String ends;
        private long before;
        private long began;
        private int quiet = QUIET_SECONDS;

        Kind(String begins, String ends) {
            this.begins = begins;
            this.ends = ends;
        }

        void tick() {
            long sum = count.sum();
            if (sum != before) {
                if (quiet >= QUIET_SECONDS) {
                    began = before;
                    LOG.warn(begins);
                }
                before = sum;
                quiet = 0;
            } else if (quiet < QUIET_SECONDS && ++quiet == QUIET_SECONDS) {
                LOG.info("{}; it happened {} times", ends, sum - began);
            }
        }
    }

    Refusals() {
        for (Problem.Type type : Problem.Type.values()) {
            String kind = type.title() + " (" + type + ")";
            kinds.put(type, new Kind("requests are refused: " + kind, "requests are no longer refused: " + kind));
        }
    }

    /** Counts the problem that a request is answered with, and gives one to an answer of the framework that has none. */
    @ResponseFilter
    void count(MutableHttpResponse<?> response) {
        Object body = response.body();
        if (body == null && response.status() == HttpStatus.FORBIDDEN) {
            Problem problem = Problem.of(
                    Problem.Type.CROSS_ORIGIN, "micronaut.server.cors.configurations does not allow this origin");
            body = problem;
            problem.fill(response);
        }
        if (body instanceof Problem problem) {
            count(problem.type());
        }
    }

    /** Counts one that is answered without the filter, such as on the page. */
    void count(Problem.Type type) {
        kind(type).count.increment();
    }

    /** Counts a connection that was closed to make room for another one. */
    void connectionClosed() {
        closedConnections.count.increment();
    }

    /** Counts an attempt to accept a connection that failed. */
    void acceptFailed() {
        failedAccepts.count.increment();
    }

    /** Returns how many problems of that type were answered since the start. */
    long countOf(Problem.Type type) {
        return kind(type).count.sum();
    }

    /** Returns how many connections were closed to make room since the start. */
    long closedConnections() {
        return closedConnections.count.sum();
    }

    private Kind kind(Problem.Type type) {
        Kind kind = kinds.get(type);
        if (kind == null) {
            throw new AssertionError(type);
        }
        return kind;
    }

    /** Called once a second: logs what began or ended. */
    synchronized void tick() {
        kinds.forEach((type, kind) -> {
            if (type.isOperators()) {
                kind.tick();
            }
        });
        closedConnections.tick();
        failedAccepts.tick();
    }
}

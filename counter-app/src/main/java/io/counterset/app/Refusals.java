// SPDX-License-Identifier: Apache-2.0
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
 * Counts refused requests by kind. One line is logged when this replica begins to refuse requests
 * for a reason that the operator can solve, and one when it has not done so for a minute.
 * Thread-safe; does not block.
 */
@ServerFilter(ServerFilter.MATCH_ALL_PATTERN)
final class Refusals {

    private static final int QUIET_SECONDS = 60;
    private static final Logger LOG = LoggerFactory.getLogger(Refusals.class);

    private final Map<Problem.Type, Kind> kinds = new EnumMap<>(Problem.Type.class);
    private final Kind closedConnections = new Kind(
            "too many connections: closing the longest idle ones to admit new ones (counter.max-connections)",
            "connections are no longer closed to admit new ones");
    private final Kind failedAccepts = new Kind(
            "connections cannot be accepted, probably because file descriptors ran out (ulimit -n): closing idle ones",
            "connections can be accepted again");

    /**
     * Counts events of one kind, and logs one line when they begin and one when they end. Only the
     * timer uses the fields, except the adder.
     */
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

    /**
     * Counts the problem in a response, and adds one to a response of the framework that has none.
     */
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

    /** Counts a problem in a response that the filter does not see, such as the page. */
    void count(Problem.Type type) {
        kind(type).count.increment();
    }

    /** Counts a connection that was closed to make room for another one. */
    void connectionClosed() {
        closedConnections.count.increment();
    }

    /** Counts a failed attempt to accept a connection. */
    void acceptFailed() {
        failedAccepts.count.increment();
    }

    /** Returns how many responses had a problem of that type since the start. */
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

    /** Called once a second. Logs the kinds that began or ended. */
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

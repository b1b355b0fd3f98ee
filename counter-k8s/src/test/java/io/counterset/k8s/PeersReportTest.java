// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.PeersReport.Freshness;
import io.counterset.k8s.PeersReport.Kind;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.Source;
import io.counterset.k8s.PeersReport.State;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PeersReportTest {

    private static final Instant NOW = Instant.parse("2026-11-22T09:00:00Z");

    @Test
    void formatsACompleteReportAsATable() {
        PeersReport report = new PeersReport(
                "visits",
                1_003,
                true,
                0,
                null,
                2,
                2,
                "app-0",
                NOW,
                new Source(Kind.STATIC, Freshness.LIVE, null, null, null),
                List.of(
                        new Peer(
                                "app-0",
                                "10.0.0.1:8080",
                                State.LIVE,
                                null,
                                1_000L,
                                NOW,
                                false,
                                null,
                                null,
                                null,
                                null,
                                null,
                                null),
                        new Peer(
                                "app-1",
                                "10.0.0.2:8080",
                                State.LIVE,
                                null,
                                3L,
                                NOW,
                                false,
                                0.42,
                                null,
                                null,
                                null,
                                null,
                                null)));

        assertThat(report.toTable()).isEqualTo("""
                        visits: total 1003, 2 of 2 replicas answered

                        INSTANCE  STATE  COUNT  COUNTED  LATENCY  ADDRESS        REASON
                        app-0     live    1000  now            -  10.0.0.1:8080
                        app-1     live       3  now       0.4 ms  10.0.0.2:8080
                        """);
    }

    @Test
    void theHeadlineIncludesLosses() {
        PeersReport report = new PeersReport(
                "visits",
                3,
                true,
                11_847,
                null,
                2,
                2,
                "app-0",
                NOW,
                new Source(Kind.STATIC, Freshness.LIVE, null, null, null),
                List.of(
                        new Peer(
                                "app-0",
                                null,
                                State.REPLACED,
                                "…",
                                1L,
                                NOW,
                                false,
                                null,
                                null,
                                null,
                                null,
                                11_847L,
                                null),
                        new Peer(
                                "app-1",
                                null,
                                State.ROLLED_BACK,
                                "…",
                                2L,
                                NOW,
                                false,
                                null,
                                null,
                                null,
                                null,
                                null,
                                null)));

        assertThat(report.headline())
                .isEqualTo(
                        "visits: total 3 (and at least 11847 lost), 2 of 2 replicas answered; 1 replaced, 1 rolled back");
    }

    @Test
    void theTableOfAnIncompleteReportHasReasons() {
        PeersReport report = new PeersReport(
                "visits",
                7,
                false,
                0,
                null,
                3,
                1,
                "app-0",
                NOW,
                new Source(Kind.KUBERNETES, Freshness.STALE, "connection refused", 125_000L, null),
                List.of(
                        new Peer("app-0", null, State.LIVE, null, 2L, NOW, false, null, null, null, null, null, null),
                        new Peer(
                                "app-1",
                                "10.0.0.2:8080",
                                State.UNREACHABLE,
                                "no answer within 1 s",
                                5L,
                                NOW.minusSeconds(90),
                                false,
                                null,
                                null,
                                null,
                                null,
                                null,
                                null),
                        new Peer(
                                "app-2",
                                null,
                                State.MISSING,
                                "no address",
                                null,
                                null,
                                false,
                                null,
                                null,
                                null,
                                null,
                                null,
                                null)));

        assertThat(report.toTable()).isEqualTo("""
                        visits: at least 7, 1 of 3 replicas answered
                        peers by kubernetes (stale for 2 min): connection refused

                        INSTANCE  STATE        COUNT  COUNTED   LATENCY  ADDRESS        REASON
                        app-0     live             2  now             -  -
                        app-1     unreachable      5  90 s ago        -  10.0.0.2:8080  no answer within 1 s
                        app-2     missing          -  -               -  -              no address
                        """);
    }

    @ParameterizedTest
    @CsvSource({
        "app-2, app-10",
        "app-9, app-10",
        "app, app-0",
        "app-0, app-1",
        "10.0.0.2:80, 10.0.0.10:80",
        "a, b",
        "a-01, a-2",
        "a-9, a-9999999999999999999999"
    })
    void ordersNamesNaturally(String first, String second) {
        assertThat(Reconciliation.compareNaturally(first, second)).isNegative();
        assertThat(Reconciliation.compareNaturally(second, first)).isPositive();
        assertThat(Reconciliation.compareNaturally(first, first)).isZero();
    }

    @Test
    void theGrowthOfTheLastMinuteIsAColumnAndInTheHeadline() {
        Peer grown = new Peer("app-0", null, State.LIVE, null, 9L, NOW, false, null, null, null, null, null, 4L);
        Peer silent = new Peer(
                "app-1", null, State.MISSING, "no address", 5L, NOW, false, null, null, null, null, null, null);
        PeersReport report = new PeersReport(
                "visits",
                14,
                false,
                0,
                4L,
                2,
                1,
                "app-0",
                NOW,
                new Source(Kind.STATIC, Freshness.LIVE, null, null, null),
                List.of(grown, silent));

        assertThat(report.toTable()).isEqualTo("""
                        visits: at least 14, 1 of 2 replicas answered; at least 4 in the last minute

                        INSTANCE  STATE    COUNT  LAST MINUTE  COUNTED  LATENCY  ADDRESS  REASON
                        app-0     live         9            4  now            -  -
                        app-1     missing      5            -  now            -  -        no address
                        """);
    }
}

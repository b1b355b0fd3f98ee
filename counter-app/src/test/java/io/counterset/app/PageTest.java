// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.PeersReport;
import io.counterset.k8s.PeersReport.Peer;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The page as rendered by the server, which is what a browser without scripts shows. */
class PageTest {

    private static final String HTML = "text/html";

    private static final Instant AT = Instant.parse("2026-11-25T10:00:00Z");

    @TempDir
    private Path folder;

    @Test
    void containsTheCounts() {
        try (Service service = Service.start(folder)) {
            service.send("POST", "/count?by=1233");
            long count = 1233;
            String grouped;
            String page;
            do { // a page does not wait long for its report
                page = service.send("GET", "/", "Accept", HTML).body();
                count++;
                grouped = String.format(Locale.ROOT, "%,d", count);
            } while (!page.contains("Total " + grouped) && count < 1333);
            assertThat(page)
                    .contains("<span id=\"count\" data-size=\"1\">" + grouped + "</span>")
                    .contains("<b id=\"instance\">app-0</b>")
                    .contains("<h2 id=\"total\">Total " + grouped + "</h2>")
                    .contains("1 of 1 replica</p>")
                    .contains("data-name=\"app-0\" data-count=\"" + count + "\" data-state=\"live\"")
                    .doesNotContain("{{");
        }
    }

    private static Peer peer(
            int ordinal, PeersReport.State state, @Nullable Long count, boolean isFinal, @Nullable Long lost) {
        boolean answered = state == PeersReport.State.LIVE || lost != null;
        return new Peer(
                "app-" + ordinal,
                "10.0.0." + ordinal + ":8080",
                state,
                state == PeersReport.State.LIVE ? null : "why",
                count,
                count == null ? null : AT.minusSeconds(answered ? 0 : 480),
                isFinal,
                answered ? 0.4 : null,
                new UUID(0, ordinal),
                1L,
                null,
                lost,
                answered ? ordinal - 1L : null);
    }

    @Test
    void qualifiesTheCountOfEachReplica() {
        PeersReport report = new PeersReport(
                "visits",
                29_665,
                false,
                11_847,
                1L,
                5,
                2,
                "app-0",
                AT,
                new PeersReport.Source(PeersReport.Kind.KUBERNETES, PeersReport.Freshness.LIVE, null, null, null),
                List.of(
                        peer(1, PeersReport.State.LIVE, 20_000L, false, null),
                        peer(2, PeersReport.State.REPLACED, 5L, false, 11_847L),
                        peer(3, PeersReport.State.RETIRED, 100L, true, null),
                        peer(4, PeersReport.State.UNREACHABLE, 9_560L, false, null),
                        peer(5, PeersReport.State.STARTING, null, false, null)));
        try (Service service = Service.start(folder)) {
            String[] rows = service.bean(Page.class).report(report).split("<li class=\"replica", -1);
            assertThat(rows).hasSize(6);
            assertThat(rows[0]).contains("At least 29,665</h2><p id=\"gone\">and at least 11,847 lost</p>");
            assertThat(rows[0]).contains("<p id=\"rate\">at least 1 in the last minute</p>");
            assertThat(rows[1])
                    .contains("seen just now")
                    .doesNotContain("count</span>", "What to do", "lost", "last minute");
            assertThat(rows[2])
                    .contains("at least 11,847 lost", "What to do", "/docs/runbooks/CounterReplaced.md")
                    .contains("1 in the last minute");
            assertThat(rows[3]).contains("final count", "seen 8 min ago").doesNotContain("What to do");
            assertThat(rows[4]).contains("last known count", "/docs/runbooks/CounterReplicaDown.md");
            assertThat(rows[5]).contains("never seen", "What the states mean").doesNotContain("known count<");
        }
    }

    @Test
    void foldsALongReasonBetweenTwoWords() {
        String reason = "its volume was replaced; ".repeat(4) + "it had counted 1234567890123 and more, as was seen";
        PeersReport report = new PeersReport(
                "visits",
                1,
                true,
                0,
                null,
                1,
                1,
                "app-0",
                AT,
                new PeersReport.Source(PeersReport.Kind.STATIC, PeersReport.Freshness.LIVE, null, null, null),
                List.of(new Peer(
                        "app-1",
                        null,
                        PeersReport.State.REPLACED,
                        reason,
                        1L,
                        AT,
                        false,
                        1.0,
                        null,
                        1L,
                        null,
                        null,
                        null)));
        try (Service service = Service.start(folder)) {
            Matcher summary = Pattern.compile("<summary>(its [^<]*)…</summary>")
                    .matcher(service.bean(Page.class).report(report));
            assertThat(summary.find()).isTrue();
            assertThat(reason).startsWith(summary.group(1)); // the group ends with a space
        }
    }

    @Test
    void explainsEveryStateAndLinksToRunbooksThatExist() {
        try (Service service = Service.start(folder)) {
            for (PeersReport.State state : PeersReport.State.values()) {
                String section = service.bean(Page.class)
                        .report(new PeersReport(
                                "visits",
                                1,
                                true,
                                0,
                                null,
                                1,
                                1,
                                "app-0",
                                AT,
                                new PeersReport.Source(
                                        PeersReport.Kind.STATIC, PeersReport.Freshness.LIVE, null, null, null),
                                List.of(peer(1, state, 1L, false, null))));
                assertThat(section).containsPattern("<dt>" + state + "</dt><dd>[A-Z][^<]+\\.</dd>");
                Matcher link = Pattern.compile("(docs/runbooks/\\w+\\.md)").matcher(section);
                while (link.find()) {
                    assertThat(Path.of("..", link.group(1))).exists();
                }
            }
        }
    }

    @Test
    void escapesAllText() {
        String hostile = "<b onclick='x'>\"&{{count}}";
        try (Service service = Service.start(folder, "counter.name", hostile, "counter.instance", hostile)) {
            String page = service.send("GET", "/", "Accept", HTML).body();
            assertThat(page)
                    .contains("&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;{{count}}")
                    .doesNotContain("<b onclick");
        }
    }

    @Test
    void thePolicyAllowsOnlyItsOwnStyleAndScript() throws Exception {
        try (Service service = Service.start(folder)) {
            HttpResponse<String> response = service.send("GET", "/", "Accept", HTML);
            String policy =
                    response.headers().firstValue("Content-Security-Policy").orElseThrow();
            assertThat(policy)
                    .startsWith("default-src 'none'; ")
                    .contains("style-src 'sha256-" + hash(response.body(), "<style>", "</style>") + "';")
                    .contains("script-src 'sha256-" + hash(response.body(), "<script>", "</script>") + "';")
                    .doesNotContain("unsafe");
            assertThat(response.body()).doesNotContain("src=\"http").doesNotContain("href=\"http");
        }
    }

    private static String hash(String page, String begin, String end) throws Exception {
        int from = page.indexOf(begin) + begin.length();
        byte[] text = page.substring(from, page.indexOf(end, from)).getBytes(java.nio.charset.StandardCharsets.UTF_8);
        return Base64.getEncoder()
                .encodeToString(
                        java.security.MessageDigest.getInstance("SHA-256").digest(text));
    }

    @Test
    void showsTheCountEvenIfTheVisitCannotBeCounted() {
        try (Service service = Service.start(folder)) {
            service.send("POST", "/count?by=7");
            service.bean(CounterStore.class).close();
            HttpResponse<String> response = service.send("GET", "/", "Accept", HTML);
            assertThat(response.statusCode()).isEqualTo(503);
            assertThat(response.body())
                    .contains("<span id=\"count\" data-size=\"1\">7</span>")
                    .contains("This visit was not counted: This replica is stopping.");
        }
    }

    @Test
    void marksAPrefetchedPage() {
        try (Service service = Service.start(folder)) {
            assertThat(service.send("GET", "/", "Accept", HTML, "Sec-Purpose", "prefetch")
                            .body())
                    .contains("data-counted=\"false\"");
            assertThat(service.send("GET", "/", "Accept", HTML).body()).contains("data-counted=\"true\"");
        }
    }
}

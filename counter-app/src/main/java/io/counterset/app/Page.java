// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.PeersReport;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.Replica;
import jakarta.inject.Singleton;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.Base64;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The page, rendered completely on the server, so that it works without scripts. Its script
 * replaces the two live sections, the {@linkplain #report report} and the
 * {@linkplain #history history}, with newer ones rendered here. Nothing is loaded from other hosts,
 * and the policy allows only this style and this script.
 *
 * <p>Thread-safe. A report is rendered once, however many visitors poll it.
 */
@Singleton
final class Page {

    /** The policy of a section that a browser shows on its own: it may load and run nothing. */
    static final String FRAGMENT_POLICY =
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    private static final Pattern PLACEHOLDER = Pattern.compile("\\{\\{(\\w+)}}");

    /** The number of characters beyond which a reason is folded. */
    private static final int LONG_REASON = 120;

    /** The maximum number of replicas in the drawing. */
    private static final int DRAWN = 5;

    /** What each state means, by the word for the state. */
    private static final Map<String, String> MEANINGS = Map.of(
            "live", "It answered just now.",
            "starting", "It is new and does not answer yet.",
            "terminating", "It is being stopped. Its count is final once it has told the others.",
            "unreachable", "It has an address but does not answer. Its last known count is shown.",
            "missing", "It is expected but has no address. Its last known count is shown.",
            "retired", "It was scaled down. Its volume keeps its count, and scaling up brings it back.",
            "rolled-back", "Its volume is an older copy: increments that others have seen are lost.",
            "replaced", "Its volume is new: the counts on the former one are lost.",
            "restored", "Its volume was replaced or rolled back, and what the others remembered was restored.");

    /** What to do about a state, and the runbook with the commands. */
    private record Remedy(String text, String runbook) {}

    private static final String LOST =
            "Find out what happened to the volume before you change anything else. If the right one"
                    + " still exists, attach it again and restart the replica. If it is gone, restore what the others remember of the replica,"
                    + " once.";

    private static final Map<String, Remedy> REMEDIES = Map.of(
            "replaced", new Remedy(LOST, "CounterReplaced"),
            "rolled-back", new Remedy(LOST, "CounterRolledBack"),
            "unreachable",
                    new Remedy("Check whether it is running, and read the end of its log.", "CounterReplicaDown"),
            "missing", new Remedy("Find out why it was not created or scheduled.", "CounterReplicaMissing"));

    private static final String RUNBOOKS = "https://github.com/counterset/counterset/blob/main/docs/runbooks/";

    private final String instance;
    private final UUID store;
    private final String counter;
    private final String template;
    private final String contentSecurityPolicy;

    private volatile @Nullable Rendered latestReport;
    private volatile @Nullable Rendered latestHistory;
    private volatile @Nullable Rendered latestHistories;

    /** A rendered section and its source, so that the same section is not rendered twice. */
    private record Rendered(Object from, String html) {}

    Page(Replica replica) throws IOException {
        this.instance = replica.instance();
        this.store = replica.store().identity().id();
        this.counter = replica.mainCounter();
        try (InputStream in = Page.class.getResourceAsStream("/page.html")) {
            if (in == null) {
                throw new FileNotFoundException("page.html");
            }
            this.template = new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
        this.contentSecurityPolicy = "default-src 'none'; style-src '" + hash(between("<style>", "</style>"))
                + "'; script-src '" + hash(between("<script>", "</script>"))
                + "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    }

    /** Returns the Content-Security-Policy of the page. */
    String contentSecurityPolicy() {
        return contentSecurityPolicy;
    }

    /**
     * Returns the whole page.
     *
     * @param count this replica's count
     * @param counted whether it includes this visit
     * @param problem why the visit could not be counted, or null
     * @param report the report about all replicas, or null if there is none yet
     * @param history the section with the history
     */
    String render(
            long count, boolean counted, @Nullable Problem problem, @Nullable PeersReport report, String history) {
        String digits = number(count);
        Map<String, String> values = Map.of(
                "counter",
                escaped(counter),
                "instance",
                escaped(instance),
                "store",
                store.toString(),
                "count",
                digits,
                "size",
                size(digits.length()),
                "counted",
                Boolean.toString(counted || problem != null),
                "notice",
                problem == null ? "" : notice(problem),
                "report",
                report == null ? pendingReport() : report(report),
                "history",
                history,
                "demand",
                Demanded.HEADER);
        return fill(template, values::get);
    }

    /** Returns the font size step at which that many characters fit on a narrow screen. */
    private static String size(int characters) {
        return characters <= 5 ? "1" : characters <= 9 ? "2" : characters <= 14 ? "3" : "4";
    }

    private static String notice(Problem problem) {
        return "<p class=\"notice\" role=\"alert\">This visit "
                + (problem.increment() == Problem.Increment.NOT_APPLIED
                        ? "was not counted: "
                        : "may not have been counted: ")
                + escaped(problem.title()) + ".</p>";
    }

    /** Returns the page for a browser that is not admitted. */
    static String problem(Problem.Type type) {
        return """
                <!DOCTYPE html>
                <html lang="en">
                <meta charset="utf-8">
                <meta name="viewport" content="width=device-width">
                <title>%1$s</title>
                <h1>%1$s</h1>
                <p>Reload the page. When the browser asks for a user name and a password, leave the user name empty and enter a token
                as the password.</p>
                """.formatted(escaped(type.title()));
    }

    // ---- the report ----

    private static String pendingReport() {
        return """
                <section id="report" class="all" aria-label="All replicas">
                <div class="sum"><h2 id="total">All replicas</h2><p id="answered" data-complete="false">waiting for answers</p></div>
                </section>""";
    }

    /** Returns the section about all replicas. */
    String report(PeersReport report) {
        Rendered rendered = latestReport;
        if (rendered == null || !rendered.from().equals(report)) {
            rendered = new Rendered(report, render(report));
            latestReport = rendered;
        }
        return rendered.html();
    }

    private String render(PeersReport report) {
        StringBuilder html = new StringBuilder("""
                <section id="report" class="all" aria-label="All replicas">
                <div class="sum"><h2 id="total">%s %s</h2>%s<p id="answered" data-complete="%s">%d of %d %s</p>%s</div>
                """.formatted(
                        report.complete() ? "Total" : "At least",
                        number(report.total()),
                        report.lost() > 0 ? "<p id=\"gone\">and at least " + number(report.lost()) + " lost</p>" : "",
                        report.complete(),
                        report.answered(),
                        report.expected(),
                        report.expected() == 1 ? "replica" : "replicas",
                        report.lastMinute() == null
                                ? ""
                                : "<p id=\"rate\">" + rate(report.lastMinute(), report.answered() == report.expected())
                                        + "</p>"));
        PeersReport.Source source = report.source();
        if (source.reason() != null) {
            html.append("<p class=\"source\">The list of replicas is ")
                    .append(source.state())
                    .append(": ")
                    .append(escaped(source.reason()))
                    .append("</p>\n");
        }
        html.append(drawing(report.peers())).append("<ul id=\"replicas\">\n");
        double sum = report.peers().stream()
                .mapToDouble(peer -> peer.count() == null ? 0 : peer.count())
                .sum();
        for (Peer peer : report.peers()) {
            row(html, peer, sum, report);
        }
        html.append(
                "</ul>\n<details class=\"states\" data-fold=\"states\"><summary>What the states mean</summary><dl>");
        report.peers().stream()
                .map(Peer::state)
                .distinct()
                .sorted()
                .forEach(state -> html.append("<dt>")
                        .append(state)
                        .append("</dt><dd>")
                        .append(MEANINGS.getOrDefault(state.toString(), ""))
                        .append("</dd>"));
        return html.append("</dl></details>\n</section>").toString();
    }

    private void row(StringBuilder html, Peer peer, double sum, PeersReport report) {
        Long count = peer.count();
        double share = count == null || sum == 0 ? 0 : 100 * count / sum;
        String name = escaped(peer.label());
        html.append("<li class=\"replica").append(store.equals(peer.store()) ? " me" : "");
        html.append("\" data-key=\"").append(peer.store() == null ? name : peer.store());
        html.append("\" data-store=\"").append(peer.store() == null ? "" : peer.store());
        html.append("\" data-name=\"").append(name);
        html.append("\" data-count=\"").append(count == null ? "" : count);
        html.append("\" data-state=\"").append(peer.state()).append("\">\n<div class=\"who\"><span class=\"name\">");
        html.append(name).append("</span><span class=\"you\">served you</span></div>\n<div class=\"facts\">");
        html.append("<span class=\"state\">").append(peer.state()).append("</span><span class=\"seen\">");
        html.append(
                peer.countedAt() == null
                        ? "never seen"
                        : "seen " + ago(Duration.between(peer.countedAt(), report.at())));
        html.append("</span>");
        if (peer.latencyMillis() != null) {
            html.append(String.format(Locale.ROOT, "<span class=\"seen\">%.1f ms</span>", peer.latencyMillis()));
        }
        if (peer.lastMinute() != null && peer.lastMinute() > 0) {
            html.append("<span class=\"seen\">")
                    .append(rate(peer.lastMinute(), true))
                    .append("</span>");
        }
        if (count != null && peer.isFinal()) {
            html.append("<span>final count</span>");
        } else if (count != null && peer.latencyMillis() == null && !store.equals(peer.store())) {
            html.append("<span>last known count</span>");
        }
        html.append("""
                </div>
                <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"><rect width="%.2f" height="1"/></svg>
                <span class="share">%s</span><span class="many">%s</span>
                """.formatted(
                share,
                count == null || sum == 0 ? "" : String.format(Locale.ROOT, share < 10 ? "%.1f %%" : "%.0f %%", share),
                count == null ? "–" : number(count)));
        if (peer.lost() != null) {
            html.append("<p class=\"reason gone\">at least ")
                    .append(number(peer.lost()))
                    .append(" lost</p>\n");
        }
        if (peer.reason() != null) {
            reason(html, peer.reason(), name);
        }
        Remedy remedy = REMEDIES.get(peer.state().toString());
        if (remedy != null) {
            html.append("<details class=\"todo\" data-fold=\"todo ")
                    .append(name)
                    .append("\"><summary>What to do</summary>")
                    .append(remedy.text())
                    .append(" <a href=\"")
                    .append(RUNBOOKS)
                    .append(remedy.runbook())
                    .append(".md\" rel=\"noreferrer\">The runbook ")
                    .append(remedy.runbook())
                    .append("</a> has the commands.</details>\n");
        }
        html.append("</li>\n");
    }

    private static void reason(StringBuilder html, String reason, String name) {
        if (reason.codePointCount(0, reason.length()) <= LONG_REASON) {
            html.append("<p class=\"reason\">").append(escaped(reason)).append("</p>\n");
            return;
        }
        int most = reason.offsetByCodePoints(0, LONG_REASON - 20);
        int space = reason.lastIndexOf(' ', most); // never inside a number, which would change it
        int end = space > 0 ? space : most;
        html.append("<details class=\"reason\" data-fold=\"reason ")
                .append(name)
                .append("\"><summary>");
        html.append(escaped(reason.substring(0, end))).append(" …</summary>");
        html.append(escaped(reason)).append("</details>\n");
    }

    /**
     * Returns the drawing: a service in front of replicas with a volume below each, and only the
     * first ones if there are many.
     */
    private String drawing(List<Peer> peers) {
        int shown = Math.min(DRAWN, peers.size());
        boolean more = peers.size() > shown;
        int width = 110 * (shown + (more ? 1 : 0));
        StringBuilder svg = new StringBuilder(String.format(
                Locale.ROOT,
                "<svg class=\"drawing\" viewBox=\"0 0 %d 176\" role=\"img\" aria-label=\"One service in front of %d %s. Each"
                        + " keeps its count on a volume of its own.\">\n",
                width,
                peers.size(),
                peers.size() == 1 ? "replica" : "replicas"));
        int middle = width / 2;
        for (int i = 0; i < shown; i++) {
            Peer peer = peers.get(i);
            int x = 110 * i + 55;
            svg.append("<g class=\"pod")
                    .append(store.equals(peer.store()) ? " me" : "")
                    .append(peer.latencyMillis() != null || store.equals(peer.store()) ? "" : " down")
                    .append("\" data-store=\"")
                    .append(peer.store() == null ? "" : peer.store())
                    .append("\">");
            svg.append(String.format(
                    Locale.ROOT,
                    "<path d=\"M%1$d 30C%1$d 50 %2$d 40 %2$d 62\"/><rect x=\"%3$d\" y=\"62\" width=\"98\" height=\"34\" rx=\"7\"/>"
                            + "<text x=\"%2$d\" y=\"83\">%4$s</text><path d=\"M%2$d 96v20\"/>"
                            + "<path d=\"M%5$d 124v32a34 8 0 0 0 68 0v-32\"/><ellipse cx=\"%2$d\" cy=\"124\" rx=\"34\" ry=\"8\"/>"
                            + "<text x=\"%2$d\" y=\"150\">%6$s</text></g>%n",
                    middle,
                    x,
                    x - 49,
                    escaped(shortened(peer.label())),
                    x - 34,
                    peer.count() == null ? "–" : brief(peer.count())));
        }
        svg.append(String.format(
                Locale.ROOT,
                "<g><rect x=\"%d\" y=\"2\" width=\"88\" height=\"28\" rx=\"14\"/><text x=\"%d\" y=\"21\">service</text></g>",
                middle - 44,
                middle));
        if (more) {
            svg.append(String.format(
                    Locale.ROOT,
                    "<text class=\"small\" x=\"%d\" y=\"83\">and %,d more</text>",
                    110 * shown + 55,
                    peers.size() - shown));
        }
        return svg.append("</svg>\n").toString();
    }

    /** Shortens a long name at its beginning, because its end has the ordinal. */
    private static String shortened(String name) {
        int length = name.codePointCount(0, name.length());
        return length <= 14 ? name : "…" + name.substring(name.offsetByCodePoints(0, length - 13));
    }

    /** Returns a number in at most seven characters, for the drawing; the list has every digit. */
    private static String brief(long number) {
        if (number < 1_000_000) {
            return number(number);
        }
        String units = "MGTPE";
        double scaled = number / 1e6;
        int unit = 0;
        while (scaled >= 999.5) {
            scaled /= 1_000;
            unit++;
        }
        return String.format(Locale.ROOT, scaled < 10 ? "%.2f %c" : "%.0f %c", scaled, units.charAt(unit));
    }

    // ---- the history ----

    /** A bar of the history: the bucket's count, if known, and whether it is doubtful. */
    private record Bar(@Nullable Long count, boolean isMarked) {}

    private static final Map<History.Unit, String> PERIODS = new EnumMap<>(Map.of(
            History.Unit.MINUTE, "The last 3 hours",
            History.Unit.HOUR, "The last 7 days",
            History.Unit.DAY, "The last 2 years"));

    /** Returns the section with the bars of this replica's history. */
    String history(History history) {
        Rendered rendered = latestHistory;
        Long reading = history.readings();
        if (rendered == null || !rendered.from().equals(reading)) {
            StringBuilder html = section("How " + escaped(instance) + " counted");
            for (History.Unit unit : History.Unit.values()) {
                figure(
                        html,
                        unit,
                        history.buckets(unit).stream()
                                .map(bucket ->
                                        new Bar(bucket.count(), !bucket.marks().isEmpty()))
                                .toList());
            }
            rendered = new Rendered(reading, html.append("</section>").toString());
            latestHistory = rendered;
        }
        return rendered.html();
    }

    /**
     * Returns the section with the bars of all replicas together and of each one.
     *
     * @param reports one for each length of buckets, the shortest first
     */
    String histories(List<Histories.Report> reports) {
        Rendered rendered = latestHistories;
        if (rendered == null || !rendered.from().equals(reports)) {
            rendered = new Rendered(reports, renderHistories(reports));
            latestHistories = rendered;
        }
        return rendered.html();
    }

    private String renderHistories(List<Histories.Report> reports) {
        Histories.Report shortest = reports.get(0);
        boolean alone = shortest.replicas().size() == 1;
        StringBuilder html = section(alone ? "How " + escaped(instance) + " counted" : "How all replicas counted");
        for (Histories.Report report : reports) {
            figure(
                    html,
                    report.unit(),
                    report.buckets().stream()
                            .map(bucket ->
                                    new Bar(bucket.count(), !bucket.marks().isEmpty()))
                            .toList());
        }
        return (alone ? html : eachFor(html, shortest)).append("</section>").toString();
    }

    /** Appends a row for each replica, all on one scale. */
    private static StringBuilder eachFor(StringBuilder html, Histories.Report report) {
        html.append("<h3>Each replica, ")
                .append(period(report.unit()).toLowerCase(Locale.ROOT))
                .append("</h3>\n<ul class=\"each\">\n");
        long most = report.replicas().stream()
                .map(Histories.Line::counts)
                .filter(Objects::nonNull)
                .flatMap(List::stream)
                .filter(Objects::nonNull)
                .mapToLong(Long::longValue)
                .max()
                .orElse(0);
        for (Histories.Line line : report.replicas()) {
            html.append("<li><span class=\"name\">")
                    .append(escaped(line.label()))
                    .append("</span>");
            List<@Nullable Long> counts = line.counts();
            if (counts == null) {
                html.append("<span class=\"seen\">")
                        .append(line.state())
                        .append(": ")
                        .append(escaped(String.valueOf(line.reason())))
                        .append("</span>");
            } else {
                List<Bar> bars =
                        counts.stream().map(count -> new Bar(count, false)).toList();
                bars(html, bars, most, escaped(line.label()) + ", " + figures(report.unit(), bars));
            }
            html.append("</li>\n");
        }
        return html.append("</ul>\n");
    }

    private static StringBuilder section(String title) {
        return new StringBuilder(
                        "<section id=\"history\" class=\"history\" aria-label=\"History\"><div class=\"sum\"><h2>")
                .append(title)
                .append("</h2></div>\n");
    }

    private static String rate(long lastMinute, boolean complete) {
        return (complete ? "" : "at least ") + number(lastMinute) + " in the last minute";
    }

    private static String period(History.Unit unit) {
        return PERIODS.getOrDefault(unit, "");
    }

    private static void figure(StringBuilder html, History.Unit unit, List<Bar> bars) {
        String figures = figures(unit, bars);
        html.append("<figure><figcaption><b>")
                .append(period(unit))
                .append("</b><span>")
                .append(figures)
                .append("</span></figcaption>\n");
        bars(html, bars, most(bars), period(unit) + ", a bar for each " + unit + ": " + figures);
        html.append("</figure>\n");
    }

    private static long most(List<Bar> bars) {
        return bars.stream()
                .mapToLong(bar -> bar.count() == null ? 0 : bar.count())
                .max()
                .orElse(0);
    }

    private static String figures(History.Unit unit, List<Bar> bars) {
        long gaps = bars.stream().filter(bar -> bar.count() == null).count();
        long marks = bars.stream().filter(Bar::isMarked).count();
        double sum = bars.stream()
                .mapToDouble(bar -> bar.count() == null ? 0 : bar.count())
                .sum();
        return String.format(
                Locale.ROOT,
                "%,.0f in all, at most %,d in one %s%s%s",
                sum,
                most(bars),
                unit,
                gaps == 0 ? "" : String.format(Locale.ROOT, "; no data for %,d of %,d", gaps, bars.size()),
                marks == 0 ? "" : String.format(Locale.ROOT, "; %,d in doubt", marks));
    }

    private static void bars(StringBuilder html, List<Bar> bars, long most, String label) {
        StringBuilder counts = new StringBuilder();
        StringBuilder missing = new StringBuilder();
        StringBuilder doubtful = new StringBuilder();
        for (int i = 0; i < bars.size(); i++) {
            Long count = bars.get(i).count();
            if (count == null) {
                missing.append('M').append(i).append(" 94h1v6h-1z");
            } else if (count > 0) {
                long height = Math.max(2, Math.round(100.0 * count / most));
                counts.append('M')
                        .append(i)
                        .append(" 100v-")
                        .append(height)
                        .append("h.8v")
                        .append(height)
                        .append('z');
            }
            if (bars.get(i).isMarked()) {
                doubtful.append('M').append(i).append(" 0h.8v100h-.8z");
            }
        }
        html.append(String.format(Locale.ROOT, """
                <svg viewBox="0 0 %d 100" preserveAspectRatio="none" role="img" aria-label="%s">\
                <path class="gap" d="%s"/><path class="count" d="%s"/><path class="mark" d="%s"/></svg>
                """, bars.size(), label, missing, counts, doubtful));
    }

    // ---- text ----

    private static String ago(Duration age) {
        long seconds = Math.max(0, Math.round(age.toMillis() / 1e3));
        if (seconds < 2) {
            return "just now";
        } else if (seconds < 120) {
            return seconds + " s ago";
        } else if (seconds < 7_200) {
            return seconds / 60 + " min ago";
        }
        return seconds < 172_800 ? seconds / 3_600 + " h ago" : seconds / 86_400 + " d ago";
    }

    static String number(long number) {
        return String.format(Locale.ROOT, "%,d", number);
    }

    private static String fill(String text, Function<String, @Nullable String> values) {
        Matcher matcher = PLACEHOLDER.matcher(text);
        StringBuilder filled = new StringBuilder();
        while (matcher.find()) {
            String value = values.apply(matcher.group(1));
            matcher.appendReplacement(filled, Matcher.quoteReplacement(value == null ? "" : value));
        }
        return matcher.appendTail(filled).toString();
    }

    static String escaped(String text) {
        return text.replace("&", "&amp;")
                .replace("<", "&lt;")
                .replace(">", "&gt;")
                .replace("\"", "&quot;")
                .replace("'", "&#39;");
    }

    private String between(String begin, String end) {
        int from = template.indexOf(begin) + begin.length();
        return template.substring(from, template.indexOf(end, from));
    }

    private static String hash(String text) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return "sha256-" + Base64.getEncoder().encodeToString(digest);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }
}

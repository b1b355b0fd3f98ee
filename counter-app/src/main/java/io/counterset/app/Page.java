package io.counterset.app;

import io.counterset.k8s.PeersReport;
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
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The page, with the numbers of the moment in it, so that it can be read without a script; the script in it keeps them current.
 * Nothing is loaded from elsewhere, and the policy allows this style and this script only. Immutable.
 */
@Singleton
final class Page {

    private static final Pattern PLACEHOLDER = Pattern.compile("\\{\\{(\\w+)}}");

    private final String instance;
    private final String counter;
    private final String template;
    private final String replica;
    private final String contentSecurityPolicy;

    Page(Replica replica) throws IOException {
        this.instance = replica.instance();
        this.counter = replica.mainCounter();
        try (InputStream in = Page.class.getResourceAsStream("/page.html")) {
            if (in == null) {
                throw new FileNotFoundException("page.html");
            }
            this.template = new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
        this.replica = between("<template id=\"replica\">", "</template>");
        this.contentSecurityPolicy = "default-src 'none'; style-src '" + hash(between("<style>", "</style>"))
                + "'; script-src '" + hash(between("<script>", "</script>"))
                + "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    }

    /** Returns the policy to send along with the page. */
    String contentSecurityPolicy() {
        return contentSecurityPolicy;
    }

    /**
     * Returns the page.
     *
     * @param count this replica's count
     * @param counted whether this visit is in it
     * @param problem why the visit could not be counted, or null
     * @param report what is known of all replicas, or null if that is not known yet
     */
    String render(long count, boolean counted, @Nullable Problem problem, @Nullable PeersReport report) {
        // The row in its template is for the script, and is to stay as it is.
        int row = template.indexOf(replica);
        Map<String, String> values = Map.of(
                "counter",
                escaped(counter),
                "instance",
                escaped(instance),
                "count",
                number(count),
                "counted",
                Boolean.toString(counted || problem != null),
                "notice",
                problem == null ? "" : notice(problem),
                "total",
                report == null ? "All replicas" : total(report),
                "complete",
                Boolean.toString(report != null && report.complete()),
                "answered",
                report == null ? "" : answered(report),
                "source",
                report == null ? "" : source(report.source()),
                "replicas",
                report == null ? "" : replicas(report));
        return fill(template.substring(0, row), values::get)
                + replica
                + fill(template.substring(row + replica.length()), values::get);
    }

    private static String notice(Problem problem) {
        return "<p class=\"notice\" role=\"alert\">This visit "
                + (problem.increment() == Problem.Increment.NOT_APPLIED
                        ? "was not counted: "
                        : "may not have been counted: ")
                + escaped(problem.title()) + ".</p>";
    }

    private static String total(PeersReport report) {
        return (report.complete() ? "Total " : "At least ") + number(report.total());
    }

    private static String answered(PeersReport report) {
        return report.answered() + " of " + report.expected() + (report.expected() == 1 ? " replica" : " replicas");
    }

    private static String source(PeersReport.Source source) {
        return source.reason() == null
                ? ""
                : escaped("The list of replicas is " + source.state() + ": " + source.reason());
    }

    private String replicas(PeersReport report) {
        double sum = report.peers().stream()
                .mapToDouble(peer -> peer.count() == null ? 0 : peer.count())
                .sum();
        StringBuilder rows = new StringBuilder();
        for (PeersReport.Peer peer : report.peers()) {
            Long count = peer.count();
            double share = count == null || sum == 0 ? 0 : 100 * count / sum;
            Map<String, String> values = Map.of(
                    "me", peer.label().equals(instance) ? "me" : "",
                    "name", escaped(peer.label()),
                    "state", peer.state().toString(),
                    "reason", peer.reason() == null ? "" : escaped(peer.reason()),
                    "seen",
                            peer.countedAt() == null
                                    ? "never seen"
                                    : "seen " + ago(Duration.between(peer.countedAt(), report.at())),
                    "latency",
                            peer.latencyMillis() == null
                                    ? ""
                                    : String.format(Locale.ROOT, "%.1f ms", peer.latencyMillis()),
                    "percent", String.format(Locale.ROOT, "%.2f", share),
                    "share",
                            count == null || sum == 0
                                    ? ""
                                    : String.format(Locale.ROOT, share < 10 ? "%.1f %%" : "%.0f %%", share),
                    "count", count == null ? "–" : number(count));
            rows.append(fill(replica, values::get));
        }
        return rows.toString();
    }

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

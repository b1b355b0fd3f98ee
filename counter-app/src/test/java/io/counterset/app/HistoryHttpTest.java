package io.counterset.app;

import static io.counterset.app.Service.assertProblem;
import static io.counterset.app.Service.json;
import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.micronaut.json.tree.JsonNode;
import java.io.ByteArrayInputStream;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.w3c.dom.Document;

/** The history and the badge over HTTP. */
class HistoryHttpTest {

    @RegisterExtension
    private static final Service service = Service.forClass("counter.name", "visits <&> \"ü\"");

    @BeforeAll
    static void prepare() {
        service.send("POST", "/count?by=1234");
    }

    @Test
    void historyReachesTheCurrentBucketWithinASecond() {
        await().untilAsserted(() -> {
            JsonNode day = json(service.send("GET", "/history?unit=day"));
            JsonNode buckets = requireNonNull(day.get("buckets"));
            assertThat(buckets.size()).isEqualTo(730);
            // The count may have fallen just before midnight.
            assertThat(requireNonNull(buckets.get(729).get("count")).getLongValue()
                            + (buckets.get(728).get("count").isNull()
                                    ? 0
                                    : buckets.get(728).get("count").getLongValue()))
                    .isEqualTo(1234);
        });
        JsonNode minute = json(service.send("GET", "/history"));
        assertThat(minute.get("unit").getStringValue()).isEqualTo("minute");
        assertThat(minute.get("buckets").get(0).get("count").isNull()).isTrue();
        assertThat(minute.get("instance").getStringValue()).isEqualTo("app-0");
        assertThat(minute.get("lastMinute").getLongValue()).isGreaterThanOrEqualTo(0);
    }

    @Test
    void historyIsOfferedAsCsvAndAsASparkline() {
        HttpResponse<String> csv = service.send("GET", "/history?unit=hour", "Accept", "text/csv");
        assertThat(csv.headers().firstValue("Content-Type").orElseThrow()).startsWith("text/csv");
        assertThat(csv.body().split("\r\n")).hasSize(169).startsWith("start,count,covered_seconds,marks");
        HttpResponse<String> text = service.send("GET", "/history?unit=hour", "Accept", "text/plain");
        assertThat(text.body().split("\n")).hasSize(168 / 24 + 1);
        assertThat(text.body()).contains("·").contains("one mark for each hour, at most ");
    }

    @Test
    void anUnknownUnitIsRefused() {
        assertProblem(service.send("GET", "/history?unit=week"), 400, "bad-request", "not-applied");
    }

    @Test
    void theBadgeIsWellFormedAndDoesNotCount() throws Exception {
        HttpResponse<String> badge = service.send("GET", "/badge.svg");
        assertThat(badge.headers().firstValue("Content-Type").orElseThrow()).startsWith("image/svg+xml");
        assertThat(badge.headers().firstValue("Cache-Control")).contains("no-store");
        Document svg = DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse(new ByteArrayInputStream(badge.body().getBytes(StandardCharsets.UTF_8)));
        assertThat(svg.getElementsByTagName("title").item(0).getTextContent()).isEqualTo("visits <&> \"ü\": 1,234");
        assertThat(service.send("GET", "/count", "Accept", "text/plain").body()).isEqualTo("1234\n");
    }
}

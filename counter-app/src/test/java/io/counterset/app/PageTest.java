package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.Base64;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The page as it comes from the server, which is all that a browser without scripts has. */
class PageTest {

    private static final String HTML = "text/html";

    @TempDir
    private Path folder;

    @Test
    void itsNumbersAreInIt() {
        try (Service service = Service.start(folder)) {
            service.send("POST", "/count?by=1233");
            String page = service.send("GET", "/", "Accept", HTML).body();
            assertThat(page)
                    .contains("<span id=\"count\" data-size=\"1\">1,234</span>")
                    .contains("<b id=\"instance\">app-0</b>")
                    .contains("<h2 id=\"total\">Total 1,234</h2>")
                    .contains("1 of 1 replica</p>")
                    .contains("data-name=\"app-0\" data-count=\"1234\" data-state=\"live\"")
                    .doesNotContain("{{");
        }
    }

    @Test
    void whatItShowsCannotBecomeMarkup() {
        String hostile = "<b onclick='x'>\"&{{count}}";
        try (Service service = Service.start(folder, "counter.name", hostile, "counter.instance", hostile)) {
            String page = service.send("GET", "/", "Accept", HTML).body();
            assertThat(page)
                    .contains("&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;{{count}}")
                    .doesNotContain("<b onclick");
        }
    }

    @Test
    void thePolicyAllowsNothingButItsOwnStyleAndScript() throws Exception {
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
    void aVisitThatCannotBeCountedStillSeesTheCount() {
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
    void aPageThatWasFetchedAheadSaysSo() {
        try (Service service = Service.start(folder)) {
            assertThat(service.send("GET", "/", "Accept", HTML, "Sec-Purpose", "prefetch")
                            .body())
                    .contains("data-counted=\"false\"");
            assertThat(service.send("GET", "/", "Accept", HTML).body()).contains("data-counted=\"true\"");
        }
    }
}

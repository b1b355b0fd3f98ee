// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.marcnuri.helm.Helm;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Helm lints, packages and renders the chart, and the chart has the project's version. */
class ChartTest {

    @Test
    void passesTheStrictLint() {
        var result = new Helm(Chart.DIRECTORY).lint().strict().call();

        assertThat(result.isFailed()).as("%s", result.getMessages()).isFalse();
    }

    /** Writes the package to {@code helm/target}. */
    @Test
    void packagesCompletelyWithTheProjectsVersion() {
        Path directory = Path.of("target");
        new Helm(Chart.DIRECTORY).packageIt().withDestination(directory).call();

        Path chart = directory.resolve("counter-" + System.getProperty("project.version") + ".tgz");
        assertThat(Chart.render(chart, "app-python", ValueSetsTest.EVERYTHING, Chart.NEWEST_KUBERNETES))
                .isEqualTo(
                        Chart.render(Chart.DIRECTORY, "app-python", ValueSetsTest.EVERYTHING, Chart.NEWEST_KUBERNETES));
    }

    @Test
    void chartApplicationAndImageHaveTheSameVersion() {
        String version = System.getProperty("project.version");
        JsonNode chart = Chart.read("Chart.yaml");

        assertThat(chart.path("version").asText()).isEqualTo(version);
        assertThat(chart.path("appVersion").asText()).isEqualTo(version);
        String image = Chart.render("app-python", "").container().path("image").asText();
        assertThat(image).endsWith(":" + version);
        assertThat(chart.at("/annotations/artifacthub.io~1images").asText()).contains("image: " + image + "\n");
        for (Path page : List.of(Chart.DIRECTORY.resolve("README.md"), Path.of("../docs/migrate-from-count-txt.md"))) {
            assertThat(page).content().contains("counter-" + version + ".tgz");
        }
        for (Path page : List.of(Path.of("../Dockerfile"), Path.of("../docs/image.md"))) {
            assertThat(page)
                    .content()
                    .contains("docker build -t " + image + " .", "buildah build --isolation chroot -t " + image);
        }
        assertThat(Path.of("../Dockerfile")).content().contains("\nARG VERSION=" + version + "\n");
        Path application = Path.of("../counter-app/src/main");
        assertThat(application.resolve("openapi/components.yml")).content().contains("\n  version: " + version + "\n");
        assertThat(application.resolve("java/io/counterset/app/Application.java"))
                .content()
                .contains("@Info(title = \"Counterset\", version = \"" + version + "\")");
    }

    @Test
    void rendersItsDefaults() {
        assertThat(Chart.render("app-python", "").names())
                .containsExactly(
                        "Pod/app-python-test",
                        "PodDisruptionBudget/app-python",
                        "Role/app-python",
                        "RoleBinding/app-python",
                        "Service/app-python",
                        "Service/app-python-headless",
                        "ServiceAccount/app-python",
                        "StatefulSet/app-python");
    }
}

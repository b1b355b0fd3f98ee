package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.marcnuri.helm.Helm;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Is it a chart: does Helm lint, pack and render it, and does it carry the project's version? */
class ChartTest {

    @Test
    void passesTheStrictLint() {
        var result = new Helm(Chart.DIRECTORY).lint().strict().call();

        assertThat(result.isFailed()).as("%s", result.getMessages()).isFalse();
    }

    @Test
    void isPackedUnderTheProjectsVersion(@TempDir Path directory) {
        new Helm(Chart.DIRECTORY).packageIt().withDestination(directory).call();

        assertThat(directory.resolve("counter-" + System.getProperty("project.version") + ".tgz"))
                .isNotEmptyFile();
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

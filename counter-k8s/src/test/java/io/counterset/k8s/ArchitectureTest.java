// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.fields;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

class ArchitectureTest {

    private static final JavaClasses CLASSES = new ClassFileImporter()
            .withImportOption(new ImportOption.DoNotIncludeTests())
            .importPackages("io.counterset.k8s");

    @Test
    void publicTypesAreFew() {
        assertThat(CLASSES.stream()
                        .filter(type -> type.getModifiers().contains(JavaModifier.PUBLIC))
                        .filter(type -> !type.getSimpleName().startsWith("$")
                                && !type.getName().contains("$"))
                        .map(JavaClass::getSimpleName))
                .containsExactlyInAnyOrder(
                        "MountedFiles", "Peers", "PeersReport", "PeersSettings", "Replica", "Restoration", "Settings");
    }

    @Test
    void staticFieldsAreFinal() {
        fields().that()
                .areStatic()
                .and()
                .areDeclaredInClassesThat()
                .haveNameNotMatching(".*\\$(Definition|Introspection|\\d+).*|.*\\.\\$.*")
                .should()
                .beFinal()
                .check(CLASSES);
    }

    @Test
    void onlyTheListedClassesUseTheKubernetesClientAndNoneUsesMicronautDiscovery() {
        classes()
                .that()
                .haveNameNotMatching(".*\\.(KubernetesSource|ListWatch|ApiObjects|PeersFactory)(\\$.*)?|.*\\.\\$.*")
                .should()
                .onlyDependOnClassesThat()
                .resideOutsideOfPackages("io.kubernetes..", "okhttp3..")
                .check(CLASSES);
        noClasses()
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("io.micronaut.kubernetes.discovery..", "io.micronaut.discovery..")
                .check(CLASSES);
    }
}

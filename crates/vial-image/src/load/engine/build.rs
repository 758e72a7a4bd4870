//! Images that an engine of this machine builds from a Dockerfile. The caller runs the command, and takes the image from the
//! engine afterwards, as any other of its images.

use std::path::PathBuf;
use std::process::Command;

use super::Engine;
use super::program::Program;

/// What shall be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The directory that the Dockerfile copies from.
    pub context: PathBuf,
    /// The Dockerfile.
    pub file: PathBuf,
    /// What the engine shall call the image.
    pub name: String,
    /// `NAME=VALUE` for its ARG instructions.
    pub arguments: Vec<String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Say nothing but errors.
    pub quiet: bool,
}

impl Engine {
    /// Those that build images, in the order in which they are tried.
    pub const BUILDERS: [Self; 3] = [Self::Buildah, Self::Podman, Self::Docker];

    /// Is it here and could it build? Otherwise why not, in its own words.
    ///
    /// # Errors
    /// When it is not installed, or its daemon does not answer.
    pub fn answers(self) -> Result<(), String> {
        let mut ask = Command::new(self.as_str());
        // Of docker the daemon counts; the others have none.
        let ask = match self {
            Self::Docker => ask.args(["version", "--format", "{{.Server.Version}}"]),
            _ => ask.arg("--version"),
        };
        Program::output(ask).map(drop)
    }

    /// The command that builds the image. It talks to people on both of its outputs.
    pub fn build(self, recipe: &Recipe) -> Command {
        let mut command = Command::new(self.as_str());
        let buildx = || Program::output(Command::new("docker").args(["buildx", "version"])).is_ok();
        match self {
            // Its own builders keep what they build to themselves unless told.
            Self::Docker if buildx() => command.args(["buildx", "build", "--load"]),
            _ => command.arg("build"),
        };
        if recipe.quiet {
            command.arg("--quiet");
        }
        command.args(["--tag", &recipe.name]);
        command.arg("--file").arg(&recipe.file);
        for argument in &recipe.arguments {
            command.args(["--build-arg", argument]);
        }
        if let Some(target) = &recipe.target {
            command.args(["--target", target]);
        }
        command.arg(&recipe.context);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_a_builder() {
        let recipe = Recipe {
            context: "/src/app".into(),
            file: "/src/app/Dockerfile".into(),
            name: "app:v1".into(),
            arguments: vec!["A=1".into(), "B=two words".into()],
            target: Some("small".into()),
            quiet: true,
        };
        let command = Engine::Buildah.build(&recipe);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(command.get_program(), "buildah");
        assert_eq!(
            words.join("|"),
            "build|--quiet|--tag|app:v1|--file|/src/app/Dockerfile|--build-arg|A=1|--build-arg|B=two words|--target|small|/src/app"
        );
    }
}

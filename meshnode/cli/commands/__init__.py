"""The commands of `meshctl`: each module adds its own to the command line and carries them out."""

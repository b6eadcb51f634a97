"""The protocol over trio: links, listening, dialling, discovery."""
